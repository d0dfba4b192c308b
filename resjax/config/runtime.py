"""Settings of evaluation, response and gradient capture, checkpoints, and execution."""

import dataclasses

from resjax.settings import COUNT, POSITIVE, Range, setting


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """When and how the network is evaluated; every image of a split counts once."""

  every: int = setting(1000, "steps between evaluations; 0: after the last step only", allowed=COUNT)
  batch_size: int = setting(512, "images per forward pass", allowed=POSITIVE)
  statistics: str = setting(
    "running",
    "batch norm statistics at test: running averages, or after the last step averages over the training set",
    allowed=("running", "training_set"),
  )


@dataclasses.dataclass(frozen=True)
class ResponseCapture:
  """How the strength of each layer's response is captured (Fig. 7)."""

  source: str = setting("test", "split whose images are used", allowed=("train", "test"))
  images: int = setting(512, "number of images, from the first on; a multiple of `batch_size`", allowed=POSITIVE)
  batch_size: int = setting(512, "images per forward pass; batch statistics are taken over them", allowed=POSITIVE)
  mode: str = setting("running", "batch norm statistics", allowed=("running", "batch"))
  first_conv: bool = setting(True, "count the first convolution")
  pooling: str = setting(
    "units",
    "standard deviation over all units of a layer, or the mean of the standard deviations of its channels",
    allowed=("units", "channels"),
  )


@dataclasses.dataclass(frozen=True)
class Responses(ResponseCapture):
  """The strength of each layer's response (Fig. 7)."""

  every: int = setting(0, "steps between captures; 0: only at `steps` and after the last step", allowed=COUNT)
  steps: tuple[int, ...] = setting((), "steps at which to capture; 0: before the first step", allowed=COUNT)
  final: bool = setting(True, "capture after the last step")


@dataclasses.dataclass(frozen=True)
class GradientCapture:
  """How the norms of the loss's gradient by each layer's weights, without weight decay, are captured."""

  images: int = setting(512, "training images, from the first on; a multiple of `batch_size`", allowed=POSITIVE)
  batch_size: int = setting(128, "images per pass; batch statistics are taken over them", allowed=POSITIVE)
  mode: str = setting("batch", "statistics of batch norm", allowed=("running", "batch"))


@dataclasses.dataclass(frozen=True)
class Gradients(GradientCapture):
  """The norms of the loss's gradient by each layer's weights, without weight decay."""

  every: int = setting(0, "steps between captures; 0: only at `steps`", allowed=COUNT)
  steps: tuple[int, ...] = setting((), "steps at which to capture; 0: before the first", allowed=COUNT)

  @property
  def used(self) -> bool:
    """Whether anything is captured."""
    return bool(self.every or self.steps)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """When checkpoints are saved and which are kept."""

  every: int = setting(1000, "steps between saves; 0: after the last step only", allowed=COUNT)
  keep: int = setting(2, "number of newest checkpoints kept", allowed=POSITIVE)
  keep_best: bool = setting(
    False, "also keep the checkpoint with the lowest validation error, or test error if no images are held out"
  )
  keep_every: int = setting(0, "also keep checkpoints at multiples of this many steps; 0: none", allowed=COUNT)


@dataclasses.dataclass(frozen=True)
class Execution:
  """How a run is executed; changes no id and no record key, and results only to rounding."""

  devices: int = setting(0, "devices in the mesh; 0: all of them, on a CPU one per core", allowed=COUNT)
  fsdp: int = setting(
    1, "devices that share one copy of the kernels and their momentum; 1: each has its own", allowed=POSITIVE
  )
  unroll: int = setting(
    0,
    "blocks a turn of the loop over a stage's blocks; 1000: no loop; 0: no loop on a GPU up to 110 layers, else 1",
    allowed=COUNT,
  )
  remat: str = setting(
    "auto",
    "what the backward pass computes again instead of keeping it: none; elementwise: all but convolutions; block: the "
    "insides of blocks; group: sqrt(blocks) blocks at a time; auto: elementwise on a CPU, else what fits the memory",
    allowed=("auto", "none", "elementwise", "block", "group"),
  )
  runs_per_program: int = setting(
    1,
    "runs trained in one program, in a loop on a CPU, vectorized with vmap elsewhere; they may differ in seed, "
    "learning rates and decay",
    allowed=POSITIVE,
  )
  workers: int = setting(
    -1,
    "worker processes that decode images; 0: the training process decodes; -1: one per core",
    allowed=Range(-1, 1024),
  )
  log_every: int = setting(100, "steps between lines of the log", allowed=POSITIVE)
  profile: int = setting(
    0,
    "intervals of `log_every` steps to trace with JAX's profiler into the run directory, from the second on; 0: none",
    allowed=COUNT,
  )
