"""Checkpoints of a train state: the one place that knows Orbax."""

from pathlib import Path

import jax
from orbax.checkpoint import v1 as ocp

from resjax.train.state import State


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


def _abstract(leaf: jax.Array) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
