"""Checkpoints of a train state: the only module that uses Orbax.

Orbax writes a checkpoint in the background and gives it its final name when it is complete, but it does not detect
changed bits when reading. Each checkpoint therefore contains the SHA-256 of every leaf, and the settings of its run.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from resjax import files, mesh, settings
from resjax.config import Checkpoint, Config
from resjax.settings import ConfigError
from resjax.train.state import State

VARIABLES = ("params", "batch_stats")  # parts of the state that a trained network consists of
_policies = ocp.training.preservation_policies
# Orbax logs the content of damaged files and tracebacks as errors. This module reports them as one line, when a
# checkpoint is refused or a save is waited for.
logging.getLogger("absl").addFilter(lambda record: record.levelno < logging.ERROR or "orbax" not in record.pathname)


@dataclasses.dataclass(frozen=True)
class Refusal:
  """A damaged checkpoint.

  Attributes:
    step: Step of the checkpoint.
    why: Description of the damage.
  """

  step: int
  why: str


class Checkpoints:
  """The checkpoints of a run directory, as a context manager that waits for the last save on exit.

  Methods that wait for a save raise OSError if it failed, for example because the disk is full.
  """

  def __init__(self, directory: Path, config: Config):
    """Opens a directory of checkpoints, which the first save creates.

    Args:
      directory: Directory of the checkpoints.
      config: Settings of the run; `config.checkpoint` determines which checkpoints are kept.
    """
    self._config, self._directory = config, directory
    self._orbax = _open(directory, _preservation_policy(config.checkpoint))

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    with _saving(self._directory):
      self._orbax.close()

  @property
  def latest(self) -> int | None:
    """Step of the latest complete checkpoint."""
    return self._orbax.latest.step if self._orbax.latest else None

  def save(self, state: State, error: float | None = None) -> None:
    """Saves a state in the background, unless a checkpoint of its step exists.

    Args:
      state: Train state of the run.
      error: Error as a fraction, by which the best checkpoint is kept; None if it was not measured at this step.
    """
    step = int(state.step)
    with _saving(self._directory):
      self._orbax.wait()  # Orbax silently skips a save that is requested while another one is being written
    if step != self.latest:
      about = {"config": _result_settings(self._config), "sha256": _digests(mesh.gather(state))}
      metrics = None if error is None else {"error": error}
      sealed = {**about, "seal": _metadata_digest(about)}
      with _saving(self._directory):
        self._orbax.save_async(step, state, force=True, metrics=metrics, custom_metadata=sealed)

  def restore(self, like: State) -> State:
    """Returns the latest state, with the shapes and shardings of `like`."""
    return self._orbax.load(abstract_state=jax.tree.map(_abstract, like))

  def delete(self, step: int) -> None:
    """Deletes the checkpoint of a step."""
    self._orbax.delete(step)


def newest_intact(directory: Path, config: Config) -> tuple[int | None, list[Refusal]]:
  """Finds the latest checkpoint that is not damaged.

  Args:
    directory: Directory of the checkpoints.
    config: Settings of the run.

  Returns:
    Step of the checkpoint, or None if there is none, and the damaged checkpoints after it.

  Raises:
    ConfigError: A checkpoint is of a run with other settings.
  """
  refused: list[Refusal] = []
  if not directory.exists():
    return None, refused
  with _open(directory) as orbax:
    for step in sorted((each.step for each in orbax.checkpoints), reverse=True):
      try:
        about, _ = _read(orbax, step, ())
      except _DamagedCheckpoint as error:
        refused.append(Refusal(step, str(error)))
        continue
      if differences := settings.differences(_with_later_defaults(about["config"]), _result_settings(config)):
        raise ConfigError(f"{directory / str(step)}: is a checkpoint of another config: {differences}")
      return step, refused
  return None, refused


def steps(directory: Path) -> list[int]:
  """Returns the steps of all complete checkpoints in ascending order; [] if there is no such directory."""
  if not directory.is_dir():
    return []
  with _open(directory) as orbax:
    return sorted(each.step for each in orbax.checkpoints)


def restore_variables(directory: Path, step: int | None = None) -> tuple[int, dict[str, Any]]:
  """Returns the step of a checkpoint, and its `params` and `batch_stats` with stacked blocks.

  The shapes are read from the files, so the settings of the run are not needed. The run may be in progress.

  Args:
    directory: Directory of the checkpoints.
    step: Step of the checkpoint; None for the latest.

  Raises:
    ConfigError: There is no checkpoint, or it is damaged.
  """
  if not directory.is_dir():
    raise ConfigError(f"{directory}: no such directory")
  with _open(directory) as orbax:
    if orbax.latest is None:
      raise ConfigError(f"{directory}: contains no checkpoint")
    step = orbax.latest.step if step is None else step
    try:
      return step, _read(orbax, step, VARIABLES)[1]
    except _DamagedCheckpoint as error:
      raise ConfigError(f"{directory}: step {step} is damaged: {error}") from None


class _DamagedCheckpoint(Exception):
  """A checkpoint is damaged; the message describes the damage."""


def _open(directory: Path, policy: Any = None) -> ocp.training.Checkpointer:
  context = ocp.Context()
  # By default each device writes its slice of a replicated array, for which a program per shape and device is compiled.
  context.array.saving.use_replica_parallel = False
  return ocp.training.Checkpointer(
    files.absolute(directory), preservation_policy=policy, cleanup_tmp_directories=policy is not None, context=context
  )


@contextlib.contextmanager
def _saving(directory: Path) -> Iterator[None]:
  """Converts errors of a save to an OSError with a one-line message: TensorStore raises ValueError for a full disk."""
  try:
    yield
  except files.io_errors(ValueError) as error:
    why = " ".join(str(error).split()).replace(
      f"{files.absolute(directory)}/", ""
    )  # long paths would cut off the reason
    raise OSError(f"{directory}: a checkpoint cannot be saved: {why[:600]}") from error


def _preservation_policy(checkpoint: Checkpoint) -> Any:
  """Returns Orbax's preservation policy: the latest checkpoint and, if set, the best and those at intervals."""
  policies = [_policies.LatestN(checkpoint.keep)]
  if checkpoint.keep_best:
    by_error = functools.partial(_policies.BestN, get_metric_fn=lambda metrics: metrics["error"], reverse=True)
    policies.append(by_error(n=1, keep_checkpoints_without_metrics=False))
  if checkpoint.keep_every:
    policies.append(_policies.EveryNSteps(checkpoint.keep_every))
  return _policies.AnyPreservationPolicy(policies)


def _read(orbax: ocp.training.Checkpointer, step: int, selected: tuple[str, ...]) -> tuple[Mapping[str, Any], Any]:
  """Reads a checkpoint onto this process's first device and compares each leaf with its checksum.

  Args:
    orbax: Orbax checkpointer of the directory.
    step: Step of the checkpoint.
    selected: Parts of the state to return; if empty, all parts are read.

  Returns:
    Metadata of the checkpoint, and the parts.

  Raises:
    _DamagedCheckpoint: The checkpoint is damaged.
  """
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  try:
    found = orbax.metadata(step)
    about = dict(found.custom_metadata)
    seal, digests = about.pop("seal"), about["sha256"]
    wanted = {
      key: jax.tree.map(
        functools.partial(_abstract, sharding=here) if key in selected or not selected else _placeholder, tree
      )
      for key, tree in found.metadata.items()
    }
    state = orbax.load(step, abstract_state=wanted)
  except Exception as error:  # a damaged checkpoint can raise any exception
    raise _DamagedCheckpoint(" ".join(f"cannot be read ({type(error).__name__}: {error})".split())[:300]) from None
  if seal != _metadata_digest(about):
    raise _DamagedCheckpoint("metadata do not match their checksum")
  parts = {key: state[key] for key in selected or state}
  expected = {name: digest for name, digest in digests.items() if name.split("/")[0] in parts}
  there = _digests(parts)
  wrong = [name for name in {**expected, **there} if expected.get(name) != there.get(name)]
  if wrong:
    raise _DamagedCheckpoint(
      f"{wrong[0]} does not match its checksum" + (f", nor do {len(wrong) - 1} others" if wrong[1:] else "")
    )
  return about, parts


def _digests(tree: Any) -> dict[str, str]:
  """Returns the SHA-256 digest of each leaf's dtype, shape and bytes, by its path."""
  return {name: _digest(leaf) for name, leaf in _named_leaves(tree)}


def _named_leaves(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
  for path, leaf in jax.tree.leaves_with_path(tree):
    yield jax.tree_util.keystr(path, simple=True, separator="/"), np.ascontiguousarray(jax.device_get(leaf))


def _digest(array: np.ndarray) -> str:
  digest = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
  digest.update(array.data)
  return digest.hexdigest()


def _metadata_digest(about: Mapping[str, Any]) -> str:
  """Returns the SHA-256 digest of the metadata of a checkpoint."""
  return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _result_settings(config: Config) -> dict[str, Any]:
  """Returns the settings that the results of a run depend on, all but those of `execution`."""
  return {key: value for key, value in config.to_dict().items() if key != "execution"}


def _with_later_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns recorded settings with the defaults of those that later versions added."""
  later = {key: field.default for key, field in settings.leaves(Config) if field.metadata["later"]}
  return json.loads(json.dumps(later)) | settings.flatten(values)


def _placeholder(_: Any) -> Any:
  """Returns the placeholder for a leaf that is not restored."""
  return ocp.PLACEHOLDER


def _abstract(leaf: Any, sharding: jax.sharding.Sharding | None = None) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding or leaf.sharding)
