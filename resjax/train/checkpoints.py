"""Checkpoints of a train state: the one place that knows Orbax.

A checkpoint holds the stacked layout whichever way the net runs: few large arrays, and it can be continued either way.
"""

from pathlib import Path

import jax
from orbax.checkpoint import v1 as ocp

from resjax.models import layout
from resjax.train.state import State, in_layout


class Checkpoints:
  """The checkpoints of one run directory; a context manager, which waits for the last save."""

  def __init__(self, directory: Path, keep: int, scan: bool):
    """Opens, and with the first save creates, `directory`.

    Args:
      directory: of the checkpoints.
      keep: how many of the newest ones stay.
      scan: whether the states are in the stacked layout.
    """
    self._scan = scan
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
      self._orbax.save_async(step, state if self._scan else in_layout(state, layout.stacked), force=True)

  def restore(self, like: State) -> State:
    """Returns the newest state, with the shapes and shardings of `like`."""
    like = like if self._scan else in_layout(like, layout.stacked)
    state = self._orbax.load(abstract_state=jax.tree.map(_abstract, like))
    return state if self._scan else in_layout(state, layout.unstacked)


def _abstract(leaf: jax.Array) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
