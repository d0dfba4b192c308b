"""Input strategy for image files that are decoded by worker processes of the host while the devices train."""

import dataclasses
import functools
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import NamedSharding

from resjax import mesh
from resjax.config import Config
from resjax.data import FileDataset
from resjax.data.augment import Statistics, given, lighting, normalize
from resjax.data.batch_stream import Batch, Share, TestPieces, TrainPieces, batches, worker_count
from resjax.data.files import Files
from resjax.data.image_statistics import moments
from resjax.train import batched_runs, evaluate, gradients, responses
from resjax.train.input.interface import ClassificationInput, SplitResult
from resjax.train.state import State, initial
from resjax.train.step import Hyperparameters, Interval, Program, update_run

MAX_IN_FLIGHT = 2  # steps dispatched before the host waits for the first of them


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Minibatches:
  """One minibatch for each of several runs, with the statistics that its normalization and augmentation need.

  Attributes:
    images: Cropped and mirrored images, uint8 [runs, B, H, W, C].
    labels: int32 [runs, B].
    statistics: Mean and standard deviation that the images are normalized with.
    components: Principal components of color, float32 [C, C], see `augment.lighting`.
  """

  images: jax.Array
  labels: jax.Array
  statistics: Statistics
  components: jax.Array


class StreamingInput(ClassificationInput):
  """Image files, and the worker processes that decode them; see `ClassificationInput`.

  Steps are dispatched one by one. The next minibatch is transferred while the devices train on the previous one, and
  nothing is read back.
  """

  def __init__(self, config: Config, dataset: FileDataset, net: nn.Module, store: Path):
    """Computes the statistics of the training images, unless they are stored.

    Args:
      config: Settings of a run, or the shared settings of runs in one program.
      dataset: The image files.
      net: The network.
      store: Directory in which mean images are stored.
    """
    self._config, self._net, self._dataset = config, net, dataset
    self._workers = worker_count(config.execution.workers)
    self._split = {"val": dataset.validation, "test": dataset.test}
    self.splits = ("val", "test") if len(dataset.validation) else ("test",)
    self.images, self.image_shape = len(dataset.train), dataset.image_shape
    found = moments(dataset.train, config.data, dataset.digest, store, self._workers)
    statistics = {
      "pixel_mean": Statistics(found.mean, np.ones(3, np.float32)),
      "channel": Statistics(found.channel_mean, found.channel_std),
      "given": given(config.data),
    }[config.data.normalize]
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    self.statistics: Statistics = jax.device_put(statistics, everywhere)
    self._components = jax.device_put(found.components / statistics.std[:, None], everywhere)
    self._streams: list[Generator[Batch, None, None]] = []
    self._done = 0  # number of dispatched steps, kept on the host so that reading it does not wait for the devices
    self._faults: dict[str, None] = {}

  def initial_state(self, seed: int) -> State:
    """Returns the train state of a run before its first step: see `state.initial`."""
    return initial(self._config.model, self._config.train, self._dataset.classes, self.image_shape, seed)

  def advance(
    self, states: State, hyperparameters: Hyperparameters, stop: int, max_steps: int
  ) -> tuple[State, Interval]:
    """Trains runs step by step, whatever `max_steps` is: see `InputStrategy.advance`."""
    program = Program(self._net, self._config.train, self._config.data)
    if not self._streams:
      self._start_workers(states)
    intervals = jax.tree.map(lambda leaf: jnp.full(states.step.shape, leaf), Interval.empty())
    in_flight = [intervals]
    for _ in range(self._done, stop):
      states, intervals = streamed_step(program, states, intervals, hyperparameters, self._next_batches())
      in_flight.append(intervals)
      if len(in_flight) > MAX_IN_FLIGHT:
        jax.block_until_ready(in_flight.pop(0))
    self._done = stop
    return states, intervals

  def _start_workers(self, states: State) -> None:
    """Starts the worker processes at the step of the runs; the key of a run is the seed of its own stream."""
    self._done = int(states.step[0])
    keys = np.asarray(states.key).astype(np.uint64)
    seeds = [int(high) << 32 | int(low) for high, low in keys]
    workers = max(self._workers // len(seeds), min(self._workers, 1))
    data, share = self._config.data, self._share(self._config.train.batch_size)
    self._streams = [
      batches(TrainPieces(self._dataset.train, data, seed, share), self._done, self._config.train.steps, workers)
      for seed in seeds
    ]

  def _next_batches(self) -> Minibatches:
    """Returns the next minibatch of each run, sharded over the devices."""
    parts = [next(stream) for stream in self._streams]
    for part in parts:
      self._note(part)
    split = NamedSharding(jax.sharding.get_mesh(), mesh.batch_spec(axis=1))
    images = jax.make_array_from_process_local_data(split, np.stack([part.images for part in parts]))
    labels = jax.make_array_from_process_local_data(split, np.stack([part.labels for part in parts]))
    return Minibatches(images, labels, self.statistics, self._components)

  def evaluate(self, variables: Any, split: str) -> SplitResult:
    """Evaluates a network batch by batch: see `InputStrategy.evaluate`."""
    total, loss, wrong = jnp.int32(0), jnp.float32(0), jnp.int32(0)
    for batch in self._in_order(self._split[split], self._config.evaluation.batch_size):
      # Counted on the devices, like the losses: `batch` is only this host's share.
      images, labels, counts = (self._shard(array) for array in (batch.images, batch.labels, batch.counts))
      losses, wrongs = evaluate.evaluate_batch(self._net, variables, images, labels, counts, self.statistics)
      total, loss, wrong = total + jnp.sum(counts), loss + losses, wrong + wrongs
    return SplitResult(int(total), float(loss) / int(total), int(wrong) / int(total))

  def average_statistics(self, variables: Any) -> Any:
    """Averages batch statistics batch by batch: see `ClassificationInput.average_statistics`."""
    size = self._config.train.batch_size
    whole = np.arange(-(-self.images // size) * size) % self.images
    total, count = None, 0
    for batch in self._in_order(self._dataset.train.take(whole), size):
      images = self._shard(_fill_gaps(batch))
      found = evaluate.batch_statistics(self._net, variables, images, self.statistics)
      total, count = found if total is None else jax.tree.map(jnp.add, total, found), count + 1
    return jax.tree.map(lambda leaf: leaf / count, total)

  def capture_responses(self, variables: Any) -> Any:
    """Captures the responses of each layer: see `ClassificationInput.capture_responses`."""
    settings = self._config.responses
    files = self._dataset.train if settings.source == "train" else self._dataset.test
    images, _ = self._first(files, settings.images, settings.batch_size)
    return responses.capture(self._net, settings, variables, images, self.statistics)

  def capture_gradients(self, variables: Any) -> Any:
    """Captures the gradient norms of each layer: see `ClassificationInput.capture_gradients`."""
    settings = self._config.gradients
    images, labels = self._first(self._dataset.train, settings.images, settings.batch_size)
    return gradients.capture(self._net, settings, variables, images, labels, self.statistics)

  def faults(self) -> tuple[str, ...]:
    """Returns a description of each image that could not be decoded so far."""
    return tuple(self._faults)

  def close(self) -> None:
    """Ends the worker processes."""
    for stream in self._streams:
      stream.close()
    self._streams = []

  def _in_order(self, files: Files, batch_size: int, share: Any = None) -> Iterator[Batch]:
    """Yields the minibatches of all files in order; this host's part of each, or all of it with `share` = `Share`."""
    pieces = TestPieces(files, self._config.data, (share or self._share)(batch_size))
    for batch in batches(pieces, 0, pieces.batches, self._workers):
      self._note(batch)
      yield batch

  def _first(self, files: Files, count: int, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Returns the first `count` images, without augmentation, and their labels, on all devices."""
    found = list(self._in_order(files.take(np.arange(count)), batch_size, Share))
    images = np.concatenate([_fill_gaps(batch) for batch in found])
    labels = np.concatenate(
      [np.where(batch.counts, batch.labels, batch.labels[np.argmax(batch.counts)]) for batch in found]
    )
    return jax.device_put((images, labels), mesh.replicated(jax.sharding.get_mesh()))

  def _note(self, batch: Batch) -> None:
    self._faults |= dict.fromkeys(batch.faults)

  @staticmethod
  def _share(batch_size: int) -> Share:
    return Share(batch_size, jax.process_index(), jax.process_count())

  @staticmethod
  def _shard(array: np.ndarray) -> jax.Array:
    """Returns the global batch, sharded over all devices, from the share of this host."""
    split = NamedSharding(jax.sharding.get_mesh(), mesh.batch_spec())
    return jax.make_array_from_process_local_data(split, array)


def _fill_gaps(batch: Batch) -> np.ndarray:
  """Returns the images, with the first readable one in place of each that could not be decoded."""
  if batch.counts.all():
    return batch.images
  return np.where(batch.counts[:, None, None, None], batch.images, batch.images[np.argmax(batch.counts)])


@functools.partial(jax.jit, static_argnames="program", donate_argnames="states")
def streamed_step(
  program: Program, states: State, intervals: Interval, hyperparameters: Hyperparameters, batches: Minibatches
) -> tuple[State, Interval]:
  """Applies one training step to each run, on a minibatch from the host.

  Args:
    program: Network and settings that are compiled in.
    states: Train states at the same step, each leaf [runs, ...]. Their buffers are donated.
    intervals: Metrics of the steps before this one, each leaf [runs].
    hyperparameters: Hyperparameters of each run, see `batched_runs.hyperparameters`.
    batches: A minibatch for each run.

  Returns:
    The new train states and metrics.
  """
  share = program.data.lighting

  def one(
    state: State, interval: Interval, hyperparameters: Hyperparameters, images: jax.Array, labels: jax.Array
  ) -> tuple[State, Interval]:
    _, augment_key = jax.random.split(jax.random.wrap_key_data(state.key))
    batch = normalize(images, batches.statistics)
    if share:
      batch = lighting(jax.random.fold_in(augment_key, state.step), batch, batches.components, share)
    return update_run(program, state, interval, hyperparameters, mesh.shard_batch(batch), labels)

  return batched_runs.map_runs(one, states, intervals, hyperparameters, batches.images, batches.labels)
