"""Settings of the studies of trained networks (`resjax study`), which are not part of a run's settings."""

import dataclasses

from resjax.config.runtime import GradientCapture
from resjax.settings import COUNT, MOST, NON_NEGATIVE, POSITIVE, Range, setting

SPREAD = "evenly spaced over the split; all of them if there are fewer"


@dataclasses.dataclass(frozen=True)
class Lesions:
  """Which blocks of a trained network are deleted or moved, and how the network is tested then."""

  images: int = setting(2000, f"number of test images, {SPREAD}", allowed=POSITIVE)
  batch_size: int = setting(128, "images per forward pass", allowed=POSITIVE)
  counts: tuple[int, ...] = setting(
    (2, 4, 8, 16),
    "numbers of blocks deleted at once, and of swaps of two blocks; counts that a network has too few blocks for are "
    "left out",
    allowed=POSITIVE,
  )
  trials: int = setting(3, "number of random draws for each count", allowed=COUNT)
  reestimate: str = setting(
    "both",
    "batch norm statistics of a network with a lesion: those of the whole network (no), new ones (yes), or first one "
    "and then the other (both)",
    allowed=("no", "yes", "both"),
  )
  statistics_images: int = setting(
    1024, f"number of training images for new batch norm statistics, {SPREAD}", allowed=POSITIVE
  )
  seed: int = setting(0, "seed of the random draws", allowed=COUNT)


@dataclasses.dataclass(frozen=True)
class GradientFlow(GradientCapture):
  """Norms of the loss gradient by layer, and its decomposition by path length with fixed activation patterns."""

  path_images: int = setting(
    64, f"number of training images for the decomposition by path length, {SPREAD}; 0: no decomposition", allowed=COUNT
  )
  path_batch_size: int = setting(
    16, "images per pass of the decomposition, which holds one gradient per path length and image", allowed=POSITIVE
  )


@dataclasses.dataclass(frozen=True)
class Landscape:
  """The loss around a trained network, on a grid over two filter-normalized random directions, and its curvature."""

  images: int = setting(1024, f"number of training images, {SPREAD}", allowed=POSITIVE)
  batch_size: int = setting(
    128, "images per pass; batch statistics are taken over them with mode=batch", allowed=POSITIVE
  )
  mode: str = setting(
    "running", "batch norm statistics: running averages or those of the batch", allowed=("running", "batch")
  )
  points: int = setting(
    11, "grid points along each axis; with an odd number the network itself is the middle one", allowed=Range(2, 1001)
  )
  reach: float = setting(
    1.0, "extent of the grid on each side of the network, in norms of its filters", allowed=NON_NEGATIVE
  )
  eigenvalues: int = setting(3, "number of largest eigenvalues of the Hessian; 0: none", allowed=COUNT)
  iterations: int = setting(30, "maximum number of Lanczos iterations", allowed=POSITIVE)
  seed: int = setting(0, "seed of the directions and of the first Lanczos vector", allowed=COUNT)


@dataclasses.dataclass(frozen=True)
class Curvature:
  """The Hessian of the loss of a trained network: density of its eigenvalues, and its trace by stage."""

  images: int = setting(512, f"number of training images, {SPREAD}", allowed=POSITIVE)
  batch_size: int = setting(
    128, "images per pass; batch statistics are taken over them with mode=batch", allowed=POSITIVE
  )
  mode: str = setting(
    "running", "batch norm statistics: running averages or those of the batch", allowed=("running", "batch")
  )
  probes: int = setting(2, "number of random vectors for the density; 0: no density", allowed=COUNT)
  iterations: int = setting(
    50,
    "Lanczos iterations per random vector, one Hessian product each; their vectors are kept in memory",
    allowed=POSITIVE,
  )
  traces: int = setting(
    30, "number of random vectors for the trace, one Hessian product each; 0: no trace", allowed=COUNT
  )
  seed: int = setting(0, "seed of the random vectors", allowed=COUNT)


@dataclasses.dataclass(frozen=True)
class Trajectory:
  """The path of training in the plane of the first two principal components of a run's checkpoints, and the loss."""

  images: int = setting(512, f"number of training images, {SPREAD}", allowed=POSITIVE)
  batch_size: int = setting(128, "images per pass; batch statistics are taken over them", allowed=POSITIVE)
  points: int = setting(11, "grid points along each axis around the path; 0: no grid", allowed=Range(0, 1001))
  margin: float = setting(
    0.2, "margin of the grid around the path, as a fraction of the extent of the path", allowed=NON_NEGATIVE
  )


@dataclasses.dataclass(frozen=True)
class Identity:
  """Deepening of a trained network by blocks that are exactly the identity, and further training."""

  depth: int = setting(0, "depth of the deepened network; 0: twice the number of blocks", allowed=COUNT)
  train: bool = setting(
    True,
    "train the deepened network further, and a network of its depth from scratch; False: compare the logits before and "
    "after deepening only",
  )
  steps: int = setting(0, "optimizer steps of both trainings; 0: as many as the trained network had", allowed=COUNT)
  learning_rate: float = setting(
    0.0, "learning rate before the first drop; 0: that of the trained network", allowed=NON_NEGATIVE
  )
  images: int = setting(256, f"number of test images on which the logits are compared, {SPREAD}", allowed=POSITIVE)
  batch_size: int = setting(128, "images per forward pass of the comparison", allowed=POSITIVE)


@dataclasses.dataclass(frozen=True)
class Layers:
  """Class separation and probe errors after each block of a trained network, and similarity of blocks (CKA)."""

  images: int = setting(1000, f"number of training and of test images, {SPREAD}", allowed=Range(20, MOST))
  every: int = setting(
    0, "take every n-th image, starting with the first, instead of evenly spaced ones; 0: evenly spaced", allowed=COUNT
  )
  batch_size: int = setting(100, "images per forward pass", allowed=POSITIVE)
  cka_images: int = setting(500, "test images per minibatch of CKA", allowed=Range(4, MOST))
  tiles: int = setting(
    120,
    "maximum number of rows and columns of a CKA matrix; with more blocks, neighboring ones are averaged",
    allowed=POSITIVE,
  )
  other: str = setting(
    "", "run directory of another network, with whose blocks those of each network are compared; empty: none"
  )


@dataclasses.dataclass(frozen=True)
class Initialization:
  """The signals and gradients in every block of a network before training."""

  images: int = setting(
    256, f"number of training images in the one batch, whose statistics are used, {SPREAD}", allowed=Range(2, MOST)
  )
  seed: int = setting(0, "seed of the random projection of the logits", allowed=COUNT)
