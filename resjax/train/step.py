"""The training step, and the loop over steps that is one compiled program: no host in the loop."""

import dataclasses
import functools
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
from resjax.train import batched_runs, optimizer, schedule
from resjax.train.state import State


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Interval:
  """What happened since the last line of the log.

  Attributes:
    loss, wrong: float32 scalars, sums over steps of the mean loss (nats) and of the error (a fraction).
    steps: int32 scalar, how many.
    rate: float32 scalar, of the last step.
    bad: int32 scalar, the first step whose loss is not finite, or -1.
    warmup_ended: int32 scalar, the step after which the warm-up ended, or -1.
  """

  loss: jax.Array
  wrong: jax.Array
  steps: jax.Array
  rate: jax.Array
  bad: jax.Array
  warmup_ended: jax.Array

  @classmethod
  def empty(cls) -> "Interval":
    """Returns the interval of no steps."""
    zero, none = jnp.float32(0), jnp.int32(-1)
    return cls(zero, zero, jnp.int32(0), zero, none, none)

  def add(self, state: State, loss: jax.Array, wrong: jax.Array, rate: jax.Array) -> "Interval":
    """Returns the interval with one more step, after which the state is `state`."""
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
  """The training set on the device.

  Attributes:
    images: uint8 [N, H, W, C].
    labels: int32 [N].
    statistics: what `normalize` subtracts and divides by.
  """

  images: jax.Array
  labels: jax.Array
  statistics: Statistics


@functools.partial(jax.jit, static_argnames=("net", "train", "data", "most"), donate_argnames="states")
def train_steps(
  net: nn.Module,
  train: Train,
  data: Data,
  most: int,
  states: State,
  hyperparameters: dict[str, jax.Array],
  images: TrainingData,
  stop: jax.Array,
) -> tuple[State, Interval]:
  """Trains runs until `stop` steps are done. Compiled once a net, for intervals of all lengths, all seeds and rates.

  Args:
    net: the model.
    train, data: settings; of `train`, `hyperparameters` are used instead where there are some.
    most: the longest interval, in steps.
    states: before, of one step, each leaf [runs, ...]; their memory is given to the states after.
    hyperparameters: see `batched_runs.hyperparameters`.
    images: the training set.
    stop: int32 scalar, at most `most` steps ahead.

  Returns:
    The states after, and what happened to each run, each leaf [runs].
  """
  first = states.step[0]

  def ordered(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    order_key, augment_key = jax.random.split(jax.random.wrap_key_data(key))
    return batch_order(order_key, first, most, len(images.labels), train.batch_size), augment_key

  orders, augment_keys = batched_runs.map_runs(ordered, states.key)

  def one(
    state: State, interval: Interval, hyperparameters: dict[str, jax.Array], order: jax.Array, augment_key: jax.Array
  ):
    chosen = mesh.shard_batch(order[state.step - first])
    batch = normalize(images.images[chosen], images.statistics)
    batch = augment(jax.random.fold_in(augment_key, state.step), batch, data.pad, data.mirror)
    its_train = dataclasses.replace(train, **hyperparameters)
    state, loss, wrong, rate = train_step(net, its_train, state, batch, images.labels[chosen])
    return state, interval.add(state, loss, wrong, rate)

  def body(carry: tuple[State, Interval]) -> tuple[State, Interval]:
    return batched_runs.map_runs(one, *carry, hyperparameters, orders, augment_keys)

  intervals = jax.tree.map(lambda leaf: jnp.full(states.step.shape, leaf), Interval.empty())
  return lax.while_loop(lambda carry: carry[0].step[0] < stop, body, (states, intervals))


def train_step(
  net: nn.Module, train: Train, state: State, images: jax.Array, labels: jax.Array
) -> tuple[State, jax.Array, jax.Array, jax.Array]:
  """One step of SGD.

  Args:
    net: the model.
    train: settings.
    state: before.
    images: normalised and augmented, float32 [B, H, W, C].
    labels: int32 [B].

  Returns:
    The state after, the mean loss (nats), the error of the batch (a fraction) and the rate.
  """

  def loss_of(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
    variables = {"params": params, "batch_stats": state.batch_stats}
    logits, updates = net.apply(variables, images, train=True, mutable=["batch_stats"])
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, (jnp.mean(logits.argmax(-1) != labels), updates["batch_stats"])

  (loss, (wrong, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
  rate = schedule.rate(train, state.warmup, state.plateau, state.step)
  direction, optimizer_state = optimizer.make(train).update(gradients, state.optimizer, state.params)
  params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
  after = dataclasses.replace(
    state,
    step=state.step + 1,
    params=mesh.shard_state(params),
    batch_stats=batch_stats,
    optimizer=mesh.shard_state(optimizer_state),
    warmup=schedule.advance(state.warmup, train, state.step, wrong),
  )
  return after, loss, wrong, rate
