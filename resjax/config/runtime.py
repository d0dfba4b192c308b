"""Settings of what happens around training: tests, captures, checkpoints, and how a run is executed."""

import dataclasses

from resjax.settings import COUNT, POSITIVE, Range, setting


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """When and how the net is tested. Every image counts."""

  every: int = setting(1000, "steps between evaluations; 0: after the last step only", allowed=COUNT)
  batch_size: int = setting(512, "images a forward pass", allowed=POSITIVE)
  statistics: str = setting(
    "running",
    "of batch norm at test: running averages, or at the end averages over the training set",
    allowed=("running", "training_set"),
  )


@dataclasses.dataclass(frozen=True)
class ResponseCapture:
  """How the strength of each layer's response is captured (Fig. 7)."""

  source: str = setting("test", "which images", allowed=("train", "test"))
  images: int = setting(512, "how many, from the first on; a multiple of `batch_size`", allowed=POSITIVE)
  batch_size: int = setting(512, "images a forward pass; batch statistics are over these", allowed=POSITIVE)
  mode: str = setting("running", "statistics of batch norm", allowed=("running", "batch"))
  first_conv: bool = setting(True, "count the first convolution")
  pooling: str = setting(
    "units", "deviation over all units of a layer, or the mean of per-channel ones", allowed=("units", "channels")
  )


@dataclasses.dataclass(frozen=True)
class Responses(ResponseCapture):
  """The strength of each layer's response (Fig. 7)."""

  every: int = setting(0, "steps between captures; 0: only at `steps` and the end", allowed=COUNT)
  steps: tuple[int, ...] = setting((), "steps at which to capture; 0: before the first", allowed=COUNT)
  final: bool = setting(True, "capture after the last step")


@dataclasses.dataclass(frozen=True)
class GradientCapture:
  """How the norms of the loss's gradient by each layer's weights, without weight decay, are captured."""

  images: int = setting(512, "training images, from the first on; a multiple of `batch_size`", allowed=POSITIVE)
  batch_size: int = setting(128, "images a pass; batch statistics are over these", allowed=POSITIVE)
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
  """What is kept of a run in progress."""

  every: int = setting(1000, "steps between saves; 0: after the last step only", allowed=COUNT)
  keep: int = setting(2, "newest checkpoints kept", allowed=POSITIVE)
  keep_best: bool = setting(
    False, "keep that of the lowest error, too; of the validation images where some are held out, else of the test's"
  )
  keep_every: int = setting(0, "keep those at multiples of so many steps, too; 0: none", allowed=COUNT)


@dataclasses.dataclass(frozen=True)
class Execution:
  """How a run is executed. Changes no id and no record, and results to rounding only."""

  devices: int = setting(0, "devices of the mesh; 0: all, on a CPU one a core", allowed=COUNT)
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
    "runs trained as one program, where they differ in seed, rates and decay only",
    allowed=POSITIVE,
  )
  workers: int = setting(
    -1, "processes that decode images; 0: none but the run's own; -1: one a core", allowed=Range(-1, 1024)
  )
  log_every: int = setting(100, "steps between lines of the log", allowed=POSITIVE)
