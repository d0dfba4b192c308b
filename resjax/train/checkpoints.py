"""Checkpoints of a train state: the one place that knows Orbax."""

import contextlib
import functools
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from resjax.settings import ConfigError
from resjax.train.state import State

VARIABLES = ("params", "batch_stats")  # what a net is applied with


def newest(directory: Path) -> int | None:
  """Returns the step of the newest complete checkpoint of a run, None without one."""
  if not directory.exists():
    return None
  with ocp.training.Checkpointer(directory.absolute()) as orbax:
    return orbax.latest.step if orbax.latest else None


class Checkpoints:
  """The checkpoints of one run directory; a context manager, which waits for the last save."""

  def __init__(self, directory: Path, keep: int):
    """Opens, and with the first save creates, `directory`.

    Args:
      directory: of the checkpoints.
      keep: how many of the newest ones stay.
    """
    context = ocp.Context()
    # By default each device writes its slice of a replicated array, which compiles a program a shape and device.
    context.array.saving.use_replica_parallel = False
    self._orbax = ocp.training.Checkpointer(
      directory.absolute(),
      preservation_policy=ocp.training.preservation_policies.LatestN(keep),
      cleanup_tmp_directories=True,
      context=context,
    )

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self._orbax.close()

  @property
  def latest(self) -> int | None:
    """The step of the newest complete checkpoint."""
    return self._orbax.latest.step if self._orbax.latest else None

  def save(self, state: State) -> None:
    """Saves in the background, under the state's step, unless that step is saved already."""
    step = int(state.step)
    self._orbax.wait()  # Orbax skips, without a word, a save that comes while another is being written
    if step != self.latest:
      self._orbax.save_async(step, state, force=True)

  def restore(self, like: State) -> State:
    """Returns the newest state, with the shapes and shardings of `like`."""
    return self._orbax.load(abstract_state=jax.tree.map(_abstract, like))


def restore_variables(directory: Path) -> tuple[int, dict[str, Any]]:
  """Returns the step, and `params` and `batch_stats` in the stacked layout, of the newest checkpoint.

  The shapes are those of the files, so nothing need be known of the run, which may be going on meanwhile.

  Raises:
    ConfigError: there is no checkpoint, or it cannot be read.
  """
  if not directory.is_dir():
    raise ConfigError(f"{directory}: no such directory")
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  with contextlib.closing(ocp.training.Checkpointer(directory.absolute())) as orbax:
    if orbax.latest is None:
      raise ConfigError(f"{directory}: holds no checkpoint")
    try:
      wanted = {
        key: jax.tree.map(functools.partial(_abstract, sharding=here) if key in VARIABLES else _left, tree)
        for key, tree in orbax.metadata().metadata.items()
      }
      state = orbax.load(abstract_state=wanted)
      return orbax.latest.step, {key: state[key] for key in VARIABLES}
    except Exception as error:  # what is raised is up to the layer of Orbax that meets the damage
      raise ConfigError(f"{directory}: step {orbax.latest.step} cannot be read ({type(error).__name__})") from None


def _left(_: Any) -> Any:
  """What is not restored."""
  return ocp.PLACEHOLDER


def _abstract(leaf: Any, sharding: jax.sharding.Sharding | None = None) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding or leaf.sharding)
