"""Input strategy of the training loop for detectors: minibatches, training steps, and evaluation."""

import dataclasses
import functools
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from resjax import config as settings, mesh, models
from resjax.config import Config
from resjax.data.annotated_images import DetectionDataset
from resjax.data.augment import Statistics, given
from resjax.data.batch_stream import in_order, worker_count
from resjax.detection import average_precision, backbone, log_lines
from resjax.detection.batches import AspectGroups, Minibatch, TrainBatches
from resjax.detection.evaluation import Evaluator
from resjax.detection.forward import Images, training_loss
from resjax.detection.matching import GroundTruth
from resjax.detection.network import Detector
from resjax.train import batched_runs, optimizer, schedule
from resjax.train.input.interface import InputStrategy, SplitResult
from resjax.train.run_log import RunFailed
from resjax.train.state import State
from resjax.train.step import Hyperparameters, Interval, sgd_step

MAX_IN_FLIGHT = 2  # steps dispatched before the host waits for the first of them


@dataclasses.dataclass(frozen=True)
class Program:
  """The settings that a compiled training step depends on.

  Attributes:
    detector: Layers and settings of the detector.
    train: Training settings; those in `config.HYPERPARAMETERS` are arguments of the program instead.
  """

  detector: Detector
  train: settings.Train


class DetectionInput(InputStrategy):
  """Images with boxes, decoded by worker processes; see `InputStrategy`.

  Batch norm is frozen, and the settings of a detector exclude captures of responses and gradients.
  """

  def __init__(self, config: Config, dataset: DetectionDataset, scan: models.ScanOptions):
    """Reads the backbone, if `detection.backbone` names one, and groups the images.

    Args:
      config: Settings of a run, or the shared settings of the runs of one program.
      dataset: Data set of images with boxes.
      scan: Options of the loop over the stacked blocks of a stage.
    """
    self._config, self._dataset = config, dataset
    self._detector = Detector(config.model, config.detection, dataset.classes, scan)
    self._backbone = backbone.read(config)
    self._images_of = {"val": dataset.validation, "test": dataset.test}
    self.splits = ("val", "test") if dataset.validation else ("test",)
    self.images = len(dataset.train)
    self._groups = AspectGroups(dataset.train, config.detection)
    self.image_shape = (*self._groups.shapes[0], 3)
    if self._backbone:
      statistics = self._backbone.statistics
    else:
      statistics = given(config.data) if config.data.normalize == "given" else backbone.estimate_mean(dataset.train)
    self.statistics: Statistics = jax.device_put(statistics, mesh.replicated(jax.sharding.get_mesh()))
    workers = worker_count(config.execution.workers)
    self._evaluator = Evaluator(self._detector, self.statistics, config.evaluation.batch_size, workers)
    self._streams: list[Generator[Minibatch, None, None]] = []
    self._done = 0
    self._faults: dict[str, None] = {}

  def initial_state(self, seed: int) -> State:
    """Returns the train state before the first step: weights of the backbone, and random ones for the other layers."""
    state = initial_train_state(self._detector, self._config.train, self._groups.shapes[0], seed)
    if self._backbone is None:
      return state
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    variables = backbone.replace_matching(variables, self._backbone, self._config.detection)
    return dataclasses.replace(state, **variables)

  def advance(
    self, states: State, hyperparameters: Hyperparameters, stop: int, max_steps: int
  ) -> tuple[State, Interval]:
    """Trains runs with one dispatch per step, so that `max_steps` has no effect; see `InputStrategy.advance`."""
    program = Program(self._detector, self._config.train)
    if not self._streams:
      self._start_workers(states)
    intervals = jax.tree.map(lambda leaf: jnp.full(states.step.shape, leaf), Interval.empty())
    in_flight = [intervals]
    for _ in range(self._done, stop):
      states, intervals = train_step(program, states, intervals, hyperparameters, self._next(), self.statistics)
      in_flight.append(intervals)
      if len(in_flight) > MAX_IN_FLIGHT:
        jax.block_until_ready(in_flight.pop(0))
    self._done = stop
    return states, intervals

  def _start_workers(self, states: State) -> None:
    """Starts the worker processes at the step of the runs; the key of a run is the seed of its own stream."""
    config = self._config
    self._done = int(states.step[0])
    keys = np.asarray(states.key).astype(np.uint64)
    total = worker_count(config.execution.workers)
    workers = max(total // len(keys), min(total, 1))
    for high, low in keys:
      steps = TrainBatches(
        self._dataset.train,
        self._groups,
        config.detection,
        int(high) << 32 | int(low),
        config.train.batch_size,
        config.data.mirror,
        jax.process_index(),
        jax.process_count(),
      )
      self._streams.append(in_order(steps, self._done, config.train.steps, workers))

  def _next(self) -> tuple[Images, GroundTruth]:
    """Returns the next minibatch of each run, each leaf [runs, B, ...], sharded over the devices."""
    parts = [next(stream) for stream in self._streams]
    for part in parts:
      self._faults |= dict.fromkeys(part.faults)
    split = NamedSharding(jax.sharding.get_mesh(), mesh.batch_spec(axis=1))

    def placed(name: str) -> jax.Array:
      return jax.make_array_from_process_local_data(split, np.stack([getattr(part, name) for part in parts]))

    return Images(placed("pixels"), placed("sizes")), GroundTruth(*map(placed, ("boxes", "labels", "ignored")))

  def evaluate(self, variables: Any, split: str) -> SplitResult:
    """Evaluates all readable images of a split; the error is 1 - mAP at an IoU of 0.5.

    Average precision is the area under the precision-recall curve (VOC 2010 and later), or that of COCO for COCO.

    Raises:
      RunFailed: No image with an object can be decoded.
    """
    images = self._images_of[split]
    found = self._evaluator.detect(variables, images, self._faults)
    readable = [index for index, each in enumerate(found) if each is not None]
    tested = [images[index] for index in readable]
    if not any(image.objects for image in tested):
      raise RunFailed(f"no {split} image with an object can be decoded: {next(iter(self._faults))}")
    detections = [each for each in found if each is not None]
    by_class = average_precision.score_classes(tested, detections, self._dataset.classes)
    coco = self._config.data.name == "coco"
    precision = np.array([each.coco50 if coco else each.voc for each in by_class])
    names = self._dataset.class_names
    return SplitResult(
      images=len(tested),
      loss=np.nan,
      error=1 - float(np.nanmean(precision)),
      logs={"average_precision": log_lines.class_lines(names, by_class)},
      final_logs={
        "detections": log_lines.detection_lines(names, tested, detections),
        "pictures": log_lines.picture_lines(names, tested, detections),
      },
    )

  def faults(self) -> tuple[str, ...]:
    """Returns the descriptions of the images that could not be decoded so far."""
    return tuple(self._faults)

  def close(self) -> None:
    """Stops the worker processes."""
    for stream in self._streams:
      stream.close()


@functools.partial(
  jax.jit,
  static_argnames=("detector", "train", "shape"),
  compiler_options={"xla_backend_optimization_level": 0},  # it is executed once, and optimizing would take far longer
)
def initial_train_state(
  detector: Detector, train: settings.Train, shape: tuple[int, int], seed: jax.Array | int
) -> State:
  """Returns the train state of a detector with random weights.

  Args:
    detector: Layers and settings of the detector.
    train: Training settings.
    shape: Height and width of an image.
    seed: Seed of the weights, the order of the images, their flips, and the samples of anchors and regions.
  """
  init_key, data_key = jax.random.split(jax.random.key(seed))
  variables = detector.init(init_key, jnp.zeros((1, *shape, 3)))
  model = detector.net
  return State(
    step=jnp.int32(0),
    key=jax.random.key_data(data_key),
    params=variables["params"],
    batch_stats=variables.get("batch_stats", {}),
    optimizer=optimizer.make(train).init(variables["params"]),
    warmup=schedule.initial_warmup(model, train),
    plateau=schedule.initial_plateau(),
  )


@functools.partial(jax.jit, static_argnames="program", donate_argnames="states")
def train_step(
  program: Program,
  states: State,
  intervals: Interval,
  hyperparameters: Hyperparameters,
  batch: tuple[Images, GroundTruth],
  statistics: Statistics,
) -> tuple[State, Interval]:
  """Applies one training step to each run.

  Args:
    program: Detector and settings that are compiled in.
    states: Train states of the runs at the same step, each leaf [runs, ...]; their buffers are donated.
    intervals: Metrics of the previous steps of the interval, each leaf [runs].
    hyperparameters: Hyperparameters of each run, see `batched_runs.hyperparameters`.
    batch: Minibatch and ground truth of each run, each leaf [runs, B, ...].
    statistics: Mean and standard deviation with which pixels are normalized.

  Returns:
    Train states and metrics after the step.
  """
  detector = program.detector
  frozen = backbone.frozen_parameters(detector.net, detector.detection)

  def one(
    state: State, interval: Interval, hyperparameters: Hyperparameters, images: Images, truth: GroundTruth
  ) -> tuple[State, Interval]:
    train = dataclasses.replace(program.train, **hyperparameters)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

    def loss_of(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
      constant = jax.tree.map_with_path(lambda path, p: jax.lax.stop_gradient(p) if frozen(path) else p, params)
      variables = {"params": constant, "batch_stats": state.batch_stats}
      loss, wrong = training_loss(detector, variables, statistics, images, truth, key)
      return loss, (wrong, state.batch_stats)

    factors = jax.tree.map_with_path(lambda path, _: 0.0 if frozen(path) else 1.0, state.params)
    state, loss, wrong, rate = sgd_step(loss_of, train, state, factors)
    return state, interval.add(state, loss, wrong, rate)

  return batched_runs.map_runs(one, states, intervals, hyperparameters, *batch)
