"""Runs that can be trained as one program: what of them may differ, and how they are carried through a step."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from resjax.config import Config, Train

HYPERPARAMETERS = ("learning_rate", "drop_factor", "momentum", "weight_decay", "warmup_rate", "warmup_error")


def shared_config(config: Config) -> Config:
  """Returns the settings with those at their defaults that are hyperparameters to the compiled step.

  Runs for which this is equal can be trained as one program, and one after another without compiling again.
  """
  train = dataclasses.replace(config.train, **{name: getattr(Train(), name) for name in HYPERPARAMETERS})
  return dataclasses.replace(config, seed=0, train=train)


def hyperparameters(trains: Sequence[Train]) -> dict[str, np.ndarray]:
  """Returns those hyperparameters, float32 [runs] each."""
  return {name: np.array([getattr(train, name) for train in trains], np.float32) for name in HYPERPARAMETERS}


def map_runs(one: Callable[..., Any], *stacked: Any) -> Any:
  """Applies a function to each run; all arguments and results have the runs as leading axis."""
  runs = len(jax.tree.leaves(stacked)[0])
  form = FORMS["one after another" if runs == 1 else FORM_OF_PLATFORM.get(jax.default_backend(), "batched")]
  return form(one, *stacked)


def _batched(one: Callable[..., Any], *stacked: Any) -> Any:
  return jax.vmap(one)(*stacked)


def _in_turn(one: Callable[..., Any], *stacked: Any) -> Any:
  return lax.map(lambda arguments: one(*arguments), stacked)


def _one_after_another(one: Callable[..., Any], *stacked: Any) -> Any:
  runs = len(jax.tree.leaves(stacked)[0])
  results = [one(*jax.tree.map(lambda leaf, run=run: leaf[run], stacked)) for run in range(runs)]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


FORMS: dict[str, Callable[..., Any]] = {
  "batched": _batched,  # one batch of work, which fills a device that a small net leaves idle
  "in turn": _in_turn,  # a loop over the runs
  "one after another": _one_after_another,  # that loop unrolled: what is small is fused over the runs
}
# On a CPU a convolution with weights of its own for each image is slow, and no core is idle.
FORM_OF_PLATFORM = {"cpu": "in turn"}


@jax.jit
def stack(trees: Sequence[Any]) -> Any:
  """Returns the trees of several runs as one, each leaf with the runs as leading axis."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
