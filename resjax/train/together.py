"""Runs that can be trained as one program: what of them may differ, and how they are carried through a step."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from resjax.config import Config, Train

NUMBERS = ("learning_rate", "drop_factor", "momentum", "weight_decay", "warmup_rate", "warmup_error")


def shape(config: Config) -> Config:
  """Returns the settings with those at their defaults that are numbers to the compiled step.

  Runs for which this is equal can be trained as one program, and one after another without compiling again.
  """
  train = dataclasses.replace(config.train, **{name: getattr(Train(), name) for name in NUMBERS})
  return dataclasses.replace(config, seed=0, train=train)


def numbers(trains: Sequence[Train]) -> dict[str, np.ndarray]:
  """Returns those numbers, float32 [runs] each."""
  return {name: np.array([getattr(train, name) for train in trains], np.float32) for name in NUMBERS}


def for_each(one: Callable[..., Any], *stacked: Any) -> Any:
  """Applies a function to each run; all arguments and results have the runs as leading axis.

  On an accelerator the runs are one batch of work (vmap), which fills a device that a small net leaves idle. On a CPU
  they take turns: a convolution with weights of its own for each image is slow there, and no core is idle.
  """
  runs = len(jax.tree.leaves(stacked)[0])
  if runs == 1:
    return jax.tree.map(lambda leaf: leaf[None], one(*jax.tree.map(lambda leaf: leaf[0], stacked)))
  if jax.default_backend() == "cpu":
    return lax.map(lambda arguments: one(*arguments), stacked)
  return jax.vmap(one)(*stacked)


@jax.jit
def stack(trees: Sequence[Any]) -> Any:
  """Returns the trees of several runs as one, each leaf with the runs as leading axis."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
