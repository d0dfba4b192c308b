"""Settings of the studies of trained nets (`python -m resjax.study`). They are no part of a run."""

import dataclasses

from resjax.config.runtime import GradientCapture
from resjax.settings import COUNT, MOST, NON_NEGATIVE, POSITIVE, Range, setting

SAMPLE = "images; evenly spread over the set; as many as there are where there are fewer"


@dataclasses.dataclass(frozen=True)
class Lesions:
  """What is deleted from a trained net, or put elsewhere in it, and how it is tested then."""

  images: int = setting(2000, f"test {SAMPLE}", allowed=POSITIVE)
  batch_size: int = setting(128, "images a forward pass", allowed=POSITIVE)
  counts: tuple[int, ...] = setting(
    (2, 4, 8, 16),
    "blocks deleted at once, and swaps of two blocks; those the net has not enough blocks for are left out",
    allowed=POSITIVE,
  )
  trials: int = setting(3, "random draws of each count", allowed=COUNT)
  reestimate: str = setting(
    "both",
    "take batch statistics again with the lesion, keep those of the whole net, or both",
    allowed=("no", "yes", "both"),
  )
  statistics_images: int = setting(1024, f"to take batch statistics again: training {SAMPLE}", allowed=POSITIVE)
  seed: int = setting(0, "of the random draws", allowed=COUNT)


@dataclasses.dataclass(frozen=True)
class GradientFlow(GradientCapture):
  """Norms of the loss's gradient by layer, and its shares by length of path, nonlinearity masks held fixed."""

  path_images: int = setting(64, f"for the shares of paths: training {SAMPLE}; 0: none", allowed=COUNT)
  path_batch_size: int = setting(16, "of them a pass; each is carried as often as there are blocks", allowed=POSITIVE)


@dataclasses.dataclass(frozen=True)
class Landscape:
  """The loss around a trained net, on a grid over two random filter-normalised directions, and its curvature."""

  images: int = setting(1024, f"training {SAMPLE}", allowed=POSITIVE)
  batch_size: int = setting(128, "images a pass; batch statistics are over these", allowed=POSITIVE)
  mode: str = setting("running", "statistics of batch norm", allowed=("running", "batch"))
  points: int = setting(
    11, "of the grid, on each axis; an odd number has the net itself in its middle", allowed=Range(2, 1001)
  )
  reach: float = setting(1.0, "of the grid on each side of the net, in norms of its filters", allowed=NON_NEGATIVE)
  eigenvalues: int = setting(3, "leading eigenvalues of the Hessian; 0: none", allowed=COUNT)
  iterations: int = setting(30, "of Lanczos, at most", allowed=POSITIVE)
  seed: int = setting(0, "of the directions and of Lanczos' first vector", allowed=COUNT)


@dataclasses.dataclass(frozen=True)
class Curvature:
  """The Hessian of the loss of a trained net: density of its eigenvalues, and its trace stage by stage."""

  images: int = setting(512, f"training {SAMPLE}", allowed=POSITIVE)
  batch_size: int = setting(128, "images a pass; batch statistics are over these", allowed=POSITIVE)
  mode: str = setting("running", "statistics of batch norm", allowed=("running", "batch"))
  probes: int = setting(2, "random vectors for the density; 0: none", allowed=COUNT)
  iterations: int = setting(
    50, "of Lanczos a vector, one product each; all of their vectors are held in memory", allowed=POSITIVE
  )
  traces: int = setting(30, "random vectors for the trace, one product each; 0: none", allowed=COUNT)
  seed: int = setting(0, "of the random vectors", allowed=COUNT)


@dataclasses.dataclass(frozen=True)
class Trajectory:
  """The path of training in the plane of the first two principal components of a run's checkpoints, and the loss."""

  images: int = setting(512, f"training {SAMPLE}", allowed=POSITIVE)
  batch_size: int = setting(128, "images a pass; batch statistics are over these", allowed=POSITIVE)
  points: int = setting(11, "of the grid around the path, on each axis; 0: none", allowed=Range(0, 1001))
  margin: float = setting(0.2, "of the grid around the path, as a fraction of the path's extent", allowed=NON_NEGATIVE)


@dataclasses.dataclass(frozen=True)
class Identity:
  """Deepening a trained net by blocks that are exactly the identity, and training it on."""

  depth: int = setting(0, "of the deepened net; 0: twice the blocks", allowed=COUNT)
  train: bool = setting(True, "train the deepened net on, and that depth from the start; False: compare logits only")
  steps: int = setting(0, "optimizer steps from there on; 0: as many as the net was trained", allowed=COUNT)
  learning_rate: float = setting(0.0, "rate before the first drop; 0: as the net was trained", allowed=NON_NEGATIVE)
  images: int = setting(256, f"to compare the logits on: test {SAMPLE}", allowed=POSITIVE)
  batch_size: int = setting(128, "images a forward pass of that comparison", allowed=POSITIVE)


@dataclasses.dataclass(frozen=True)
class Layers:
  """What each block of a trained net knows of the classes, and how alike blocks are (CKA)."""

  images: int = setting(1000, f"training and test {SAMPLE}", allowed=Range(20, MOST))
  every: int = setting(
    0, "take every so-manieth image, from the first on; 0: evenly spread over the set", allowed=COUNT
  )
  batch_size: int = setting(100, "images a forward pass", allowed=POSITIVE)
  cka_images: int = setting(500, "test images of a minibatch of CKA", allowed=Range(4, MOST))
  tiles: int = setting(
    120, "rows and columns of a CKA matrix at most; with more blocks, means over neighbouring ones", allowed=POSITIVE
  )
  other: str = setting("", "run directory of another net, whose blocks each net's are compared with; '': none")


@dataclasses.dataclass(frozen=True)
class Initialization:
  """The signal and the gradients in every block of a net that has not been trained."""

  images: int = setting(256, f"of one batch, whose statistics are used: training {SAMPLE}", allowed=Range(2, MOST))
  seed: int = setting(0, "of the random projection of the logits", allowed=COUNT)
