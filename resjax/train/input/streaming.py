"""A data set that is decoded as it is needed, by worker processes of the host: too large, or too varied, to be held."""

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
from resjax.config import Config, Data, Train
from resjax.data import FileDataset
from resjax.data.augment import Statistics, given, lighting, normalize
from resjax.data.batch_stream import Batch, Share, TestPieces, TrainPieces, batches, worker_count
from resjax.data.files import Files
from resjax.data.image_statistics import moments
from resjax.train import batched_runs, evaluate, gradients, responses
from resjax.train.state import State
from resjax.train.step import Interval, train_step

AHEAD = 2  # steps given to the devices before the host waits for the first of them


class StreamingInput:
  """The image files, the processes that decode them, and what is done with them on the devices of the current mesh.

  It has the interface of `InMemoryInput`. Steps are dispatched one by one; the next batch is sent while the last is
  trained on, and nothing is read back.

  Attributes:
    splits: names of what can be evaluated, "test" and, where images are held out, "val".
    images: size of the training set.
    statistics: what images are normalised with.
  """

  def __init__(self, config: Config, dataset: FileDataset, net: Any, store: Path):
    """Computes what is subtracted from the images, unless it is stored.

    Args:
      config: of a run, or of runs that are trained together.
      dataset: where its images are.
      net: the model.
      store: folder of stored mean images.
    """
    self._config, self._net, self._dataset = config, net, dataset
    self._workers = worker_count(config.execution.workers)
    self._split = {"val": dataset.validation, "test": dataset.test}
    self.splits = ("val", "test") if len(dataset.validation) else ("test",)
    self.images = len(dataset.train)
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
    self._done = 0  # steps that the streams have yielded batches of; known here, so that the devices need not be asked
    self._faults: dict[str, None] = {}

  def advance(
    self, states: State, hyperparameters: dict[str, jax.Array], stop: int, longest: int
  ) -> tuple[State, Interval]:
    """Trains runs until `stop` steps are done.

    Args:
      states: before, of one step, each leaf [runs, ...]; their memory is given to the states after.
      hyperparameters: see `batched_runs.hyperparameters`.
      stop: steps.
      longest: has no meaning here.

    Returns:
      The states after, and what happened to each run, each leaf [runs].
    """
    config = self._config
    if not self._streams:
      self._begin(states)
    intervals = jax.tree.map(lambda leaf: jnp.full(states.step.shape, leaf), Interval.empty())
    behind = [intervals]
    for _ in range(self._done, stop):
      images, labels = self._take()
      states, intervals = streamed_step(
        self._net,
        config.train,
        config.data,
        states,
        intervals,
        hyperparameters,
        images,
        labels,
        self.statistics,
        self._components,
      )
      behind.append(intervals)
      if len(behind) > AHEAD:
        jax.block_until_ready(behind.pop(0))
    self._done = stop
    return states, intervals

  def _begin(self, states: State) -> None:
    """Starts the processes where the runs are; each run has a stream of its own, by its key."""
    self._done = int(states.step[0])
    keys = np.asarray(states.key).astype(np.uint64)
    seeds = [int(high) << 32 | int(low) for high, low in keys]
    workers = max(self._workers // len(seeds), min(self._workers, 1))
    data, share = self._config.data, self._share(self._config.train.batch_size)
    self._streams = [
      batches(TrainPieces(self._dataset.train, data, seed, share), self._done, self._config.train.steps, workers)
      for seed in seeds
    ]

  def _take(self) -> tuple[jax.Array, jax.Array]:
    """Returns the next batch of each run on the devices: uint8 [runs, B, H, W, C] and int32 [runs, B]."""
    parts = [next(stream) for stream in self._streams]
    for part in parts:
      self._note(part)
    split = NamedSharding(jax.sharding.get_mesh(), mesh.batch_spec(axis=1))
    images = jax.make_array_from_process_local_data(split, np.stack([part.images for part in parts]))
    return images, jax.make_array_from_process_local_data(split, np.stack([part.labels for part in parts]))

  def evaluate(self, variables: Any, split: str) -> tuple[int, float, int]:
    """Returns how many sound images a split has, the sum of their losses (nats) and how many are wrong."""
    count, loss, wrong = 0, jnp.float32(0), jnp.int32(0)
    for batch in self._in_order(self._split[split], self._config.evaluation.batch_size):
      count += int(batch.counts.sum())
      images, labels, counts = (self._spread(array) for array in (batch.images, batch.labels, batch.counts))
      losses, wrongs = evaluate.evaluate_batch(self._net, variables, images, labels, counts, self.statistics)
      loss, wrong = loss + losses, wrong + wrongs
    return count, float(loss), int(wrong)

  def average_statistics(self, variables: Any) -> Any:
    """Returns batch statistics averaged over the training set, in batches of its images as a test sees them.

    The last batch is filled up from the first images.
    """
    size = self._config.train.batch_size
    whole = np.arange(-(-self.images // size) * size) % self.images
    total, count = None, 0
    for batch in self._in_order(self._dataset.train.take(whole), size):
      images = self._spread(_without_gaps(batch))
      found = evaluate.batch_statistics(self._net, variables, images, self.statistics)
      total, count = found if total is None else jax.tree.map(jnp.add, total, found), count + 1
    return jax.tree.map(lambda leaf: leaf / count, total)

  def capture(self, variables: Any) -> Any:
    """Returns each layer's moments on the images of `config.Responses`: see `responses.capture`."""
    settings = self._config.responses
    files = self._dataset.train if settings.source == "train" else self._dataset.test
    images, _ = self._first(files, settings.images, settings.batch_size)
    return responses.capture(self._net, settings, variables, images, self.statistics)

  def capture_gradients(self, variables: Any) -> Any:
    """Returns norms on the training images of `config.Gradients`: see `gradients.capture`."""
    settings = self._config.gradients
    images, labels = self._first(self._dataset.train, settings.images, settings.batch_size)
    return gradients.capture(self._net, settings, variables, images, labels, self.statistics)

  def faults(self) -> tuple[str, ...]:
    """Returns what is wrong with each broken image that was met."""
    return tuple(self._faults)

  def close(self) -> None:
    """Ends the processes."""
    for stream in self._streams:
      stream.close()
    self._streams = []

  def _in_order(self, files: Files, batch_size: int, share: Any = None) -> Iterator[Batch]:
    pieces = TestPieces(files, self._config.data, (share or self._share)(batch_size))
    for batch in batches(pieces, 0, pieces.batches, self._workers):
      self._note(batch)
      yield batch

  def _first(self, files: Files, count: int, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Returns so many images, as a test sees them, and their labels, on all devices."""
    found = list(self._in_order(files.take(np.arange(count)), batch_size, Share))
    images = np.concatenate([_without_gaps(batch) for batch in found])
    labels = np.concatenate(
      [np.where(batch.counts, batch.labels, batch.labels[batch.counts.argmax()]) for batch in found]
    )
    return jax.device_put((images, labels), mesh.replicated(jax.sharding.get_mesh()))

  def _note(self, batch: Batch) -> None:
    self._faults |= dict.fromkeys(batch.faults)

  @staticmethod
  def _share(batch_size: int) -> Share:
    return Share(batch_size, jax.process_index(), jax.process_count())

  @staticmethod
  def _spread(array: np.ndarray) -> jax.Array:
    """Returns a host's part of a batch as the whole batch on all devices."""
    split = NamedSharding(jax.sharding.get_mesh(), mesh.batch_spec())
    return jax.make_array_from_process_local_data(split, array)


def _without_gaps(batch: Batch) -> np.ndarray:
  """Returns the images, with the first sound one in place of each that is broken."""
  if batch.counts.all():
    return batch.images
  return np.where(batch.counts[:, None, None, None], batch.images, batch.images[batch.counts.argmax()])


@functools.partial(jax.jit, static_argnames=("net", "train", "data"), donate_argnames="states")
def streamed_step(
  net: nn.Module,
  train: Train,
  data: Data,
  states: State,
  intervals: Interval,
  hyperparameters: dict[str, jax.Array],
  images: jax.Array,
  labels: jax.Array,
  statistics: Statistics,
  components: jax.Array,
) -> tuple[State, Interval]:
  """One step of each run on a batch from the host.

  Args:
    net: the model.
    train, data: settings; of `train`, `hyperparameters` are used instead where there are some.
    states: before, each leaf [runs, ...]; their memory is given to the states after.
    intervals: what happened so far.
    hyperparameters: see `batched_runs.hyperparameters`.
    images: uint8 [runs, B, H, W, C], cropped and mirrored.
    labels: int32 [runs, B].
    statistics: what the images are normalised with.
    components: float32 [C, C], see `augment.lighting`.

  Returns:
    The states and intervals after.
  """

  def one(
    state: State, interval: Interval, hyperparameters: dict[str, jax.Array], images: jax.Array, labels: jax.Array
  ) -> tuple[State, Interval]:
    _, augment_key = jax.random.split(jax.random.wrap_key_data(state.key))
    batch = normalize(images, statistics)
    if data.lighting:
      batch = lighting(jax.random.fold_in(augment_key, state.step), batch, components, data.lighting)
    its_train = dataclasses.replace(train, **hyperparameters)
    state, loss, wrong, rate = train_step(net, its_train, state, mesh.shard_batch(batch), labels)
    return state, interval.add(state, loss, wrong, rate)

  return batched_runs.map_runs(one, states, intervals, hyperparameters, images, labels)
