"""Checkpoints: retention, bit-identical restoration, detection of damage, and other configurations."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import settings
from resjax.config import Checkpoint, Config, Model, Train
from resjax.settings import ConfigError
from resjax.train import checkpoints
from resjax.train.checkpoints import Checkpoints, newest_intact, restore_variables
from resjax.train.state import initial

CONFIG = Config(model=Model(depth=8))


@pytest.fixture(scope="module")
def state():
  return initial(CONFIG.model, CONFIG.train, 10, (8, 8, 1), seed=3)


def at(state, step):
  """Returns a state with another step."""
  return dataclasses.replace(state, step=jnp.int32(step))


def equal(one, other):
  """Returns whether two states are bit-identical."""
  return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, other))


def steps(directory):
  """Returns the steps of the checkpoints in a directory."""
  return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def save(directory, state, errors: dict, **kept):
  """Saves checkpoints at the given steps with their errors, and settings of the retention."""
  with Checkpoints(directory, Config(model=CONFIG.model, checkpoint=Checkpoint(**kept))) as checkpoints:
    for step, error in errors.items():
      checkpoints.save(at(state, step), error)


def test_checkpoints_in_quick_succession_are_all_saved(state, tmp_path):
  save(tmp_path / "kept", state, dict.fromkeys(range(1, 9)), keep=2)
  assert steps(tmp_path / "kept") == [7, 8]


def test_the_best_and_periodic_checkpoints_can_be_kept(state, tmp_path):
  errors = {2: 0.5, 4: 0.2, 6: 0.3, 7: None, 8: 0.4, 9: None}
  save(tmp_path, state, errors, keep=1, keep_best=True, keep_every=3)
  assert steps(tmp_path) == [4, 6, 9]  # 4 is the best, 6 and 9 are multiples of 3, 9 is the newest


def test_a_restored_state_is_bit_identical(state, tmp_path):
  with Checkpoints(tmp_path, CONFIG) as checkpoints:
    assert checkpoints.latest is None
    checkpoints.save(at(state, 5))
  assert newest_intact(tmp_path, CONFIG) == (5, [])
  with Checkpoints(tmp_path, CONFIG) as checkpoints:
    assert checkpoints.latest == 5
    restored = checkpoints.restore(state)
  assert equal(restored, at(state, 5))


@pytest.fixture(scope="module")
def two_checkpoints(state, tmp_path_factory):
  directory = tmp_path_factory.mktemp("two")
  save(directory, state, {5: None, 7: None})
  return directory


def files(directory):
  return sorted(path for path in directory.rglob("*") if path.is_file() and path.stat().st_size)


LEFT_BEHIND = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # unfinished tasks of Orbax


@LEFT_BEHIND
def test_any_flipped_bit_is_found_or_harmless(state, two_checkpoints, tmp_path):
  """The checkpoint is refused, or its state is the same, if the bit is part of metadata; `make faults` tries more."""
  rng, found = np.random.default_rng(0), 0
  largest = sorted(files(two_checkpoints / "7"), key=lambda path: -path.stat().st_size)[:6]
  for path in [*largest, *largest]:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    shutil.copytree(two_checkpoints, tmp_path, dirs_exist_ok=True)
    (tmp_path / path.relative_to(two_checkpoints)).write_bytes(content)
    step, refused = newest_intact(tmp_path, CONFIG)
    if step == 5:
      found += 1
      assert [each.step for each in refused] == [7]
    else:
      with Checkpoints(tmp_path, CONFIG) as checkpoints:
        assert equal(checkpoints.restore(state), at(state, 7))
  assert found > 3


@LEFT_BEHIND
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_truncated_or_missing_file_is_found(two_checkpoints, tmp_path, damage, caplog):
  """At least one of the largest files contains the state; no error is logged."""
  found = []
  for i, path in enumerate(sorted(files(two_checkpoints / "7"), key=lambda path: -path.stat().st_size)[:4]):
    directory = tmp_path / str(i)
    shutil.copytree(two_checkpoints, directory)
    damaged = directory / path.relative_to(two_checkpoints)
    damaged.write_bytes(path.read_bytes()[: path.stat().st_size // 2]) if damage == "truncated" else damaged.unlink()
    if newest_intact(directory, CONFIG)[1]:
      found.append(directory)
  assert found
  for directory in found:
    step, (refused,) = newest_intact(directory, CONFIG)
    assert (step, refused.step) == (5, 7)
    assert "\n" not in refused.why
    with pytest.raises(ConfigError, match="step 7 is damaged"):
      restore_variables(directory)
  assert not [each for each in caplog.records if each.levelname == "ERROR"]


def test_a_checkpoint_of_another_config_is_refused(two_checkpoints):
  other = dataclasses.replace(CONFIG, train=Train(batch_size=64, learning_rate=0.2))
  with pytest.raises(ConfigError) as caught:
    newest_intact(two_checkpoints, other)
  assert str(caught.value) == (
    f"{two_checkpoints / '7'}: is a checkpoint of another config: "
    "train.batch_size (128 there, 64 here), train.learning_rate (0.1 there, 0.2 here)"
  )


def test_settings_that_an_older_checkpoint_lacks_have_their_defaults(state, tmp_path, monkeypatch):
  later = [key for key, field in settings.leaves(Config) if field.metadata["later"]]
  assert "model.branch_scale" in later

  def older_settings(config):
    values = config.to_dict()
    del values["execution"]
    for key in later:
      section, name = key.split(".")
      values[section].pop(name)
    return values

  monkeypatch.setattr(checkpoints, "_result_settings", older_settings)
  with Checkpoints(tmp_path, CONFIG) as saving:
    saving.save(at(state, 7))
  monkeypatch.undo()
  assert newest_intact(tmp_path, CONFIG) == (7, [])
  scaled = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, branch_scale=0.5))
  with pytest.raises(ConfigError, match=r"model.branch_scale \(0.0 there, 0.5 here\)"):
    newest_intact(tmp_path, scaled)
