"""Several runs in one program: the settings that may differ between them, and the mapping of a step over them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from resjax.config import HYPERPARAMETERS, Train


def hyperparameters(trains: Sequence[Train]) -> dict[str, np.ndarray]:
  """Returns the hyperparameters that are arguments of the compiled step, float32 [runs] each.

  Args:
    trains: `Config.scaled_train` of each run.
  """
  return {name: np.array([getattr(train, name) for train in trains], np.float32) for name in HYPERPARAMETERS}


def map_runs(one: Callable[..., Any], *stacked: Any) -> Any:
  """Maps a function over the runs, in the way that is fastest on the platform of the mesh.

  Args:
    one: Function of one run.
    stacked: Arguments, each leaf [runs, ...].

  Returns:
    Results of the function, each leaf [runs, ...].
  """
  runs = len(jax.tree.leaves(stacked)[0])
  device = jax.sharding.get_abstract_mesh().abstract_device  # that of a plan is not the default backend's
  platform = device.platform if device else jax.default_backend()
  mapping = MAPPINGS["unrolled" if runs == 1 else MAPPING_OF_PLATFORM.get(platform, "vmap")]
  return mapping(one, *stacked)


def _vmapped(one: Callable[..., Any], *stacked: Any) -> Any:
  return jax.vmap(one)(*stacked)


def _looped(one: Callable[..., Any], *stacked: Any) -> Any:
  return lax.map(lambda arguments: one(*arguments), stacked)


def _unrolled(one: Callable[..., Any], *stacked: Any) -> Any:
  runs = len(jax.tree.leaves(stacked)[0])
  results = [one(*jax.tree.map(lambda leaf, run=run: leaf[run], stacked)) for run in range(runs)]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


MAPPINGS: dict[str, Callable[..., Any]] = {
  "vmap": _vmapped,  # one batched computation, which fills a device that a small network leaves idle
  "map": _looped,  # a loop over the runs
  "unrolled": _unrolled,  # that loop unrolled, so that XLA can fuse small operations across runs
}
# On a CPU the grouped convolutions that `vmap` makes are slow, and no core is idle.
MAPPING_OF_PLATFORM = {"cpu": "map"}


@jax.jit
def stack(trees: Sequence[Any]) -> Any:
  """Returns the trees of several runs as one tree; the leading axis of each leaf is the run."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
