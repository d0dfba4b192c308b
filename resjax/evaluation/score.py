"""Test of networks on a set of images, and their error."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from resjax import mesh
from resjax.config import Execution
from resjax.evaluation import images
from resjax.evaluation.batching import ViewBatcher
from resjax.evaluation.ensemble import Ensemble
from resjax.evaluation.images import ImageSet
from resjax.evaluation.protocols import PROTOCOLS, Protocol
from resjax.settings import ConfigError
from resjax.train import run_files
from resjax.train.run_files import RestoredRun

TOP = 5


class NotFinite(Exception):
  """An output of a network is not finite; the message names the image."""


@dataclasses.dataclass
class Score:
  """Numbers of tested and of misclassified images.

  Attributes:
    classes: Number of classes.
    images: Number of tested images.
    wrong: Number of images whose label is not the most probable class.
    top5_wrong: Number of images whose label is not among the five most probable classes.
  """

  classes: int
  images: int = 0
  wrong: int = 0
  top5_wrong: int = 0

  @property
  def error(self) -> float:
    """Top-1 error as a fraction of the images."""
    return self.wrong / self.images

  @property
  def top5_error(self) -> float | None:
    """Top-5 error as a fraction of the images; None with five classes or fewer, for which it would be 0."""
    return self.top5_wrong / self.images if self.classes > TOP else None

  def add(self, probabilities: np.ndarray, label: int) -> None:
    """Counts an image; among equally probable classes the lower index ranks first.

    Args:
      probabilities: Probabilities of the classes, float64 [classes].
      label: Class of the image.

    Raises:
      NotFinite: A probability is not finite.
    """
    if not np.isfinite(probabilities).all():
      raise NotFinite(f"the probabilities of image {self.images + 1} are not finite")
    own = probabilities[label]
    rank = int((probabilities > own).sum() + (probabilities[:label] == own).sum())
    self.images += 1
    self.wrong += rank > 0
    self.top5_wrong += rank >= TOP


def evaluate_runs(directories: Sequence[Path], path: str, protocol: str) -> tuple[Score, ImageSet]:
  """Tests the ensemble of the networks in run directories on the test images of a data set, on all devices.

  Args:
    directories: Run directories of the networks.
    path: Path of the data set, see `images.read`.
    protocol: Name of the test protocol, a key of `PROTOCOLS`.

  Raises:
    ConfigError: A directory or the data cannot be used, or they do not fit together.
    NotFinite: An output of a network is not finite.
  """
  nets = [run_files.read(directory) for directory in directories]
  tested = images.read(path, nets)
  return evaluate(nets, tested, PROTOCOLS[protocol]), tested


def evaluate(nets: Sequence[RestoredRun], tested: ImageSet, protocol: Protocol) -> Score:
  """Tests the ensemble of some networks on all devices.

  Views of the same shape are grouped into batches. The last, incomplete batch of a shape is filled up to a power of two
  with views that do not count, so that at most two programs per shape are compiled.

  Args:
    nets: Networks of the ensemble.
    tested: Test images.
    protocol: Test protocol.

  Raises:
    ConfigError: The images do not fit the networks, the networks do not fit each other or the protocol, or there is no
      image.
    NotFinite: An output of a network is not finite.
  """
  here = dataclasses.replace(nets[0].config, execution=Execution())
  with jax.set_mesh(mesh.make(here)):
    ensemble = Ensemble(nets, protocol)
    if tested.classes != ensemble.classes:
      raise ConfigError(f"{tested} has {tested.classes} classes, must be {ensemble.classes} as in the network")
    run_files.check_class_names(nets, str(tested), tested.class_names)
    score, batcher = Score(ensemble.classes), ViewBatcher(ensemble, protocol, here.evaluation.batch_size)
    for image, label in tested.pairs(protocol.shorter(ensemble.size)):
      if image.shape[-1] != ensemble.channels:
        raise ConfigError(
          f"{tested}: images have {image.shape[-1]} channels, must have {ensemble.channels} as in the network"
        )
      for prediction in batcher.add(protocol.views(image, ensemble.size), label):
        score.add(*prediction)
    for prediction in batcher.flush():
      score.add(*prediction)
  if not score.images:
    raise ConfigError(f"{tested}: no image to test on")
  return score
