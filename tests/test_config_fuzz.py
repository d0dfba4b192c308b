"""Whatever is given as settings makes a config or an error that says why not."""

import dataclasses
import math

from hypothesis import given, strategies as st

from resjax import settings
from resjax.config import Config, freeze
from resjax.settings import ConfigError

JUNK = st.recursive(
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats()
  | st.text(max_size=5)
  | st.sampled_from(["residual", "cifar10", "auto", 20, 128, 0.5, (0.5,), 10**400]),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(
      st.sampled_from([name for key, _ in settings.leaves(Config) for name in key.split(".")])
      | st.text(max_size=5)
      | st.integers(),
      inner,
      max_size=4,
    )
  ),
  max_leaves=12,
)


def junk_for(kind: type):
  """Mappings with the keys of a settings class and values that may or may not fit."""
  nested = settings.sections(kind)
  fields = {
    field.name: JUNK | junk_for(nested[field.name])
    if field.name in nested
    else JUNK | st.just(field.default) | st.integers(0, 100) | st.floats(0, 1)
    for field in dataclasses.fields(kind)
  }
  return st.fixed_dictionaries({}, optional=fields)


@given(JUNK | junk_for(Config))
def test_freeze_makes_a_config_or_says_why_not(values):
  try:
    made = freeze(values)
  except ConfigError as error:
    assert str(error)
    return
  assert isinstance(made, Config)
  assert freeze(made.to_dict()) == made
  assert all(math.isfinite(v) for v in settings.flatten(made.to_dict()).values() if isinstance(v, float))
