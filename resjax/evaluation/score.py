"""Testing nets on images: every image counts once."""

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
  """A net gave something else than numbers; the message says for which image."""


@dataclasses.dataclass
class Score:
  """How many images were tested, and how many are wrong.

  Attributes:
    images: tested.
    wrong: whose label is not the most probable class.
    top5_wrong: whose label is none of the five most probable ones.
    classes: there are.
  """

  classes: int
  images: int = 0
  wrong: int = 0
  top5_wrong: int = 0

  @property
  def error(self) -> float:
    """Fraction of the images."""
    return self.wrong / self.images

  @property
  def top5_error(self) -> float | None:
    """Fraction of the images; None where there are five classes or fewer, of which no guess can be wrong."""
    return self.top5_wrong / self.images if self.classes > TOP else None

  def add(self, probabilities: np.ndarray, label: int) -> None:
    """Counts an image; of equally probable classes the first comes first.

    Raises:
      NotFinite: a probability is none.
    """
    if not np.isfinite(probabilities).all():
      raise NotFinite(f"the probabilities of image {self.images + 1} are not finite")
    own = probabilities[label]
    rank = int((probabilities > own).sum() + (probabilities[:label] == own).sum())
    self.images += 1
    self.wrong += rank > 0
    self.top5_wrong += rank >= TOP


def test(directories: Sequence[Path], path: str, protocol: str) -> tuple[Score, ImageSet]:
  """Tests the nets of run directories, together, on the test images of a data set, with all devices there are.

  Args:
    directories: of the nets.
    path: of the data set, see `images.read`.
    protocol: a key of `PROTOCOLS`.

  Raises:
    ConfigError: a directory or the data cannot be used, or they do not fit each other.
    NotFinite: a net gives something else than numbers.
  """
  nets = [run_files.read(directory) for directory in directories]
  tested = images.read(path, nets[0].config.data)
  return evaluate(nets, tested, PROTOCOLS[protocol]), tested


def evaluate(nets: Sequence[RestoredRun], tested: ImageSet, protocol: Protocol) -> Score:
  """Tests nets that answer together, on all devices there are.

  Views of one shape are gathered until they fill a batch; what is left at the end is filled up to a power of two with
  views that do not count. So there are at most two programs a shape.

  Raises:
    ConfigError: the images do not fit the nets, or the nets each other, or there is no image.
    NotFinite: a net gives something else than numbers.
  """
  here = dataclasses.replace(nets[0].config, execution=Execution())
  with jax.set_mesh(mesh.make(here)):
    ensemble = Ensemble(nets)
    if tested.classes != ensemble.classes:
      raise ConfigError(f"{tested} has {tested.classes} classes, the net {ensemble.classes}")
    score, batcher = Score(ensemble.classes), ViewBatcher(ensemble, protocol, here.evaluation.batch_size)
    for image, label in tested.pairs(protocol.shorter(ensemble.size)):
      if image.shape[-1] != ensemble.channels:
        raise ConfigError(f"{tested}: images of {image.shape[-1]} channels, the net takes {ensemble.channels}")
      for answer in batcher.put(protocol.views(image, ensemble.size), label):
        score.add(*answer)
    for answer in batcher.rest():
      score.add(*answer)
  if not score.images:
    raise ConfigError(f"{tested}: no image to test on")
  return score
