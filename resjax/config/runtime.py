"""Settings of evaluation, response and gradient capture, checkpoints, and execution."""

import dataclasses

from resjax.settings import COUNT, POSITIVE, Range, setting


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """When and how the network is evaluated; every image of a split counts once."""

  every: int = setting(1000, "steps between evaluations; 0: only after the last step", allowed=COUNT)
  batch_size: int = setting(512, "images per forward pass", allowed=POSITIVE)
  statistics: str = setting(
    "running",
    "batch norm statistics in evaluations. running: running averages; training_set: averages over the training set, "
    "computed after the last step",
    allowed=("running", "training_set"),
  )


@dataclasses.dataclass(frozen=True)
class ResponseCapture:
  """How the standard deviation of each layer's responses is measured (Fig. 7)."""

  source: str = setting("test", "split from which images are taken", allowed=("train", "test"))
  images: int = setting(512, "number of images, starting with the first; a multiple of `batch_size`", allowed=POSITIVE)
  batch_size: int = setting(
    512, "images per forward pass; with mode=batch, batch norm statistics are taken over them", allowed=POSITIVE
  )
  mode: str = setting(
    "running", "batch norm statistics: running averages or those of the batch", allowed=("running", "batch")
  )
  first_conv: bool = setting(True, "include the first convolution of the network")
  pooling: str = setting(
    "units",
    "units: standard deviation over all units of a layer; channels: mean of the standard deviations of its channels",
    allowed=("units", "channels"),
  )


@dataclasses.dataclass(frozen=True)
class Responses(ResponseCapture):
  """Captures of the standard deviation of each layer's responses during a run (Fig. 7)."""

  every: int = setting(
    0, "steps between captures; 0: only at `steps`, and after the last step with `final`", allowed=COUNT
  )
  steps: tuple[int, ...] = setting((), "further steps after which to capture; 0: before the first step", allowed=COUNT)
  final: bool = setting(True, "capture after the last step")


@dataclasses.dataclass(frozen=True)
class GradientCapture:
  """How the norm of the loss gradient with respect to each layer's weights, without weight decay, is measured."""

  images: int = setting(512, "training images, starting with the first; a multiple of `batch_size`", allowed=POSITIVE)
  batch_size: int = setting(
    128, "images per pass; with mode=batch, batch norm statistics are taken over them", allowed=POSITIVE
  )
  mode: str = setting(
    "batch", "batch norm statistics: running averages or those of the batch", allowed=("running", "batch")
  )


@dataclasses.dataclass(frozen=True)
class Gradients(GradientCapture):
  """Captures of the norms of the loss gradient by layer during a run, without weight decay."""

  every: int = setting(0, "steps between captures; 0: only at `steps`", allowed=COUNT)
  steps: tuple[int, ...] = setting((), "further steps after which to capture; 0: before the first step", allowed=COUNT)

  @property
  def used(self) -> bool:
    """Whether gradients are captured during the run."""
    return bool(self.every or self.steps)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """When checkpoints are saved and which are kept."""

  every: int = setting(1000, "steps between checkpoints; 0: only after the last step", allowed=COUNT)
  keep: int = setting(2, "number of newest checkpoints that are kept", allowed=POSITIVE)
  keep_best: bool = setting(
    False,
    "also keep the checkpoint with the lowest validation error, or test error if no images are held out; `every` must "
    "be a multiple of evaluation.every",
  )
  keep_every: int = setting(
    0, "also keep checkpoints at multiples of this many steps, a multiple of `every`; 0: none", allowed=COUNT
  )


@dataclasses.dataclass(frozen=True)
class Execution:
  """How a run is executed: changes results only by rounding, and no id or record key."""

  devices: int = setting(0, "number of devices in the mesh; 0: all of them, on a CPU one per core", allowed=COUNT)
  fsdp: int = setting(
    1,
    "number of devices that share one copy of the kernels and their momentum (fully sharded data parallelism); 1: each "
    "device has its own copy",
    allowed=POSITIVE,
  )
  unroll: int = setting(
    0,
    "blocks per iteration of the loop over the blocks of a stage; at least the number of blocks: no loop; 0: no loop "
    "on a GPU up to 110 layers, otherwise 1",
    allowed=COUNT,
  )
  remat: str = setting(
    "auto",
    "rematerialization: what the backward pass recomputes instead of keeping it. none: nothing; elementwise: all but "
    "convolutions; block: the insides of blocks; group: groups of sqrt(blocks) blocks; auto: elementwise on a CPU, "
    "otherwise the least that fits into the device's memory",
    allowed=("auto", "none", "elementwise", "block", "group"),
  )
  runs_per_program: int = setting(
    1,
    "number of runs trained in one program, in a loop on a CPU and with vmap elsewhere; they may differ in seed, "
    "learning rate, momentum and weight decay",
    allowed=POSITIVE,
  )
  workers: int = setting(
    -1,
    "number of worker processes that decode images; 0: the training process decodes; -1: one per core",
    allowed=Range(-1, 1024),
  )
  log_every: int = setting(100, "steps between training lines in the log", allowed=POSITIVE)
  profile: int = setting(
    0,
    "number of intervals of `log_every` steps, starting with the second, that JAX's profiler traces into the run "
    "directory; 0: no trace",
    allowed=COUNT,
  )
