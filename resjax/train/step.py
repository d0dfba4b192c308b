"""The training step, and the loop over steps that is one compiled program without any work on the host."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax

from resjax import mesh
from resjax.config import Data, Train
from resjax.data.augment import Statistics, augment, normalize
from resjax.data.order import batch_order
from resjax.models import dropout, fixup, stochastic_depth
from resjax.train import batched_runs, optimizer, schedule
from resjax.train.state import State

Hyperparameters = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Program:
  """What a compiled training program depends on besides the shapes of its arguments.

  Attributes:
    net: The network.
    train: Training settings; those in `config.HYPERPARAMETERS` are arguments of the program instead.
    data: Settings of the data set and of its augmentation.
  """

  net: nn.Module
  train: Train
  data: Data


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Interval:
  """Training metrics accumulated since the last line of the log.

  Attributes:
    loss: Sum over the steps of the mean loss of the batch in nats, float32 scalar.
    wrong: Sum over the steps of the error of the batch (a fraction), float32 scalar.
    steps: Number of steps, int32 scalar.
    rate: Learning rate of the last step, float32 scalar.
    bad: First step whose loss is not finite, or -1, int32 scalar.
    warmup_ended: Step after which the warm-up ended, or -1, int32 scalar.
  """

  loss: jax.Array
  wrong: jax.Array
  steps: jax.Array
  rate: jax.Array
  bad: jax.Array
  warmup_ended: jax.Array

  @classmethod
  def empty(cls) -> "Interval":
    """Returns the metrics of an interval without steps."""
    zero, none = jnp.float32(0), jnp.int32(-1)
    return cls(zero, zero, jnp.int32(0), zero, none, none)

  def add(self, state: State, loss: jax.Array, wrong: jax.Array, rate: jax.Array) -> "Interval":
    """Returns the metrics with one more step, after which the train state is `state`."""
    first_bad = (self.bad < 0) & ~jnp.isfinite(loss)
    return Interval(
      self.loss + loss,
      self.wrong + wrong,
      self.steps + 1,
      rate,
      jnp.where(first_bad, state.step, self.bad),
      state.warmup.ended,
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingData:
  """The training set in device memory.

  Attributes:
    images: uint8 [N, H, W, C].
    labels: int32 [N].
    statistics: Mean and standard deviation that the images are normalized with.
  """

  images: jax.Array
  labels: jax.Array
  statistics: Statistics


@functools.partial(jax.jit, static_argnames=("program", "max_steps"), donate_argnames="states")
def train_steps(
  program: Program,
  max_steps: int,
  states: State,
  hyperparameters: Hyperparameters,
  images: TrainingData,
  stop: jax.Array,
) -> tuple[State, Interval]:
  """Trains runs until `stop` steps are done.

  Compiled once per network for intervals of all lengths, all seeds and all hyperparameters.

  Args:
    program: Network and settings that are compiled in.
    max_steps: Length of the longest interval, in steps.
    states: Train states at the same step, each leaf [runs, ...]. Their buffers are donated.
    hyperparameters: Hyperparameters of each run, see `batched_runs.hyperparameters`.
    images: The training set.
    stop: Step at which to stop, at most `max_steps` after the states' own, int32 scalar.

  Returns:
    The new train states, and the metrics of each run, each leaf [runs].
  """
  first, data = states.step[0], program.data

  def ordered(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    order_key, augment_key = jax.random.split(jax.random.wrap_key_data(key))
    return batch_order(order_key, first, max_steps, len(images.labels), program.train.batch_size), augment_key

  orders, augment_keys = batched_runs.map_runs(ordered, states.key)

  def one(
    state: State, interval: Interval, hyperparameters: Hyperparameters, order: jax.Array, augment_key: jax.Array
  ) -> tuple[State, Interval]:
    chosen = mesh.shard_batch(order[state.step - first])
    batch = normalize(images.images[chosen], images.statistics)
    batch = augment(jax.random.fold_in(augment_key, state.step), batch, data.pad, data.mirror)
    return update_run(program, state, interval, hyperparameters, batch, images.labels[chosen])

  def body(carry: tuple[State, Interval]) -> tuple[State, Interval]:
    return batched_runs.map_runs(one, *carry, hyperparameters, orders, augment_keys)

  intervals = jax.tree.map(lambda leaf: jnp.full(states.step.shape, leaf), Interval.empty())
  return lax.while_loop(lambda carry: carry[0].step[0] < stop, body, (states, intervals))


def update_run(
  program: Program,
  state: State,
  interval: Interval,
  hyperparameters: Hyperparameters,
  images: jax.Array,
  labels: jax.Array,
) -> tuple[State, Interval]:
  """Applies one training step to one run and adds its metrics; all input strategies train through this function.

  Args:
    program: Network and settings that are compiled in.
    state: Train state before the step.
    interval: Metrics of the steps before it.
    hyperparameters: Hyperparameters of the run, a scalar each.
    images: Normalized and augmented images, float32 [B, H, W, C].
    labels: int32 [B].

  Returns:
    The train state after the step, and the metrics with it.
  """
  train = dataclasses.replace(program.train, **hyperparameters)
  state, loss, wrong, rate = train_step(program.net, train, state, images, labels)
  return state, interval.add(state, loss, wrong, rate)


def train_step(
  net: nn.Module, train: Train, state: State, images: jax.Array, labels: jax.Array
) -> tuple[State, jax.Array, jax.Array, jax.Array]:
  """Applies one step of SGD to a classification network.

  Args:
    net: The network.
    train: Training settings.
    state: Train state before the step.
    images: Normalized and augmented images, float32 [B, H, W, C].
    labels: int32 [B].

  Returns:
    The train state after the step, the mean loss of the batch in nats, its error (a fraction) and the learning rate.
  """
  key = jax.random.wrap_key_data(state.key)
  kept = (dropout if dropout.used(net.net) else stochastic_depth).draw(net.net, key, state.step)

  def loss_of(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
    variables = {"params": params, "batch_stats": state.batch_stats}
    logits, updates = net.apply(variables, images, train=True, kept=kept, mutable=["batch_stats"])
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, (jnp.mean(logits.argmax(-1) != labels), updates["batch_stats"])

  return sgd_step(loss_of, train, state, fixup.rate_factors(net.net, state.params))


def sgd_step(
  loss_of: Callable[[Any], tuple[jax.Array, tuple[jax.Array, Any]]],
  train: Train,
  state: State,
  factors: Any,
) -> tuple[State, jax.Array, jax.Array, jax.Array]:
  """Applies one step of SGD to any loss.

  Args:
    loss_of: Returns the loss of parameters, and its error (a fraction) with the batch statistics after the step.
    train: Training settings.
    state: Train state before the step.
    factors: Factor of the learning rate of each parameter; 0 keeps its value.

  Returns:
    The train state after the step, the loss, the error and the learning rate.
  """
  (loss, (wrong, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
  rate = schedule.rate(train, state.warmup, state.plateau, state.step)
  direction, optimizer_state = optimizer.make(train).update(gradients, state.optimizer, state.params)
  params = jax.tree.map(lambda p, d, factor: p - factor * rate * d, state.params, direction, factors)
  after = dataclasses.replace(
    state,
    step=state.step + 1,
    params=mesh.shard_state(params),
    batch_stats=batch_stats,
    optimizer=mesh.shard_state(optimizer_state),
    warmup=schedule.update_warmup(state.warmup, train, state.step, wrong),
  )
  return after, loss, wrong, rate
