"""Random input to `freeze`: the result is a valid configuration or a `ConfigError`."""

import dataclasses
import math

from hypothesis import given, strategies as st

from resjax import settings
from resjax.config import Config, freeze
from resjax.settings import ConfigError

RANDOM_VALUES = st.recursive(
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


def random_settings(kind: type):
  """Returns a strategy for mappings with the keys of a settings class and valid or invalid values."""
  nested = settings.sections(kind)
  fields = {
    field.name: RANDOM_VALUES | random_settings(nested[field.name])
    if field.name in nested
    else RANDOM_VALUES | st.just(field.default) | st.integers(0, 100) | st.floats(0, 1)
    for field in dataclasses.fields(kind)
  }
  return st.fixed_dictionaries({}, optional=fields)


@given(RANDOM_VALUES | random_settings(Config))
def test_freeze_returns_a_config_or_raises_config_error(values):
  try:
    made = freeze(values)
  except ConfigError as error:
    assert str(error)
    return
  assert isinstance(made, Config)
  assert freeze(made.to_dict()) == made
  assert all(math.isfinite(v) for v in settings.flatten(made.to_dict()).values() if isinstance(v, float))
