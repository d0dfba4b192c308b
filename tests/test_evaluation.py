"""Protocols against a slow reference, one image and one view at a time; ensembles; every image counts once."""

import dataclasses
import functools

import cv2
import jax
import numpy as np
import pytest

from resjax import mesh, models
from resjax.config import Data, Evaluation, Model
from resjax.data.augment import Statistics
from resjax.evaluation import score
from resjax.evaluation.ensemble import Ensemble, size_of
from resjax.evaluation.images import ImageSet
from resjax.evaluation.protocols import CROP, PROTOCOLS, SIDES, scale_views
from resjax.settings import ConfigError
from resjax.train import run_files
from tests import random_networks

CLASSES = 7
IMAGENET = Model(family="imagenet", depth=10, blocks=(1, 1, 1, 1), width=8, shortcut="B")
CIFAR = Model(depth=8)
# Sides of odd and even length, upright and lying, small and large, and one of the very size.
SHAPES = [(97, 130), (130, 97), (64, 64), (50, 81), (300, 201), (75, 75), (64, 90), (40, 400)]


@pytest.fixture(scope="module")
def photos():
  """Smooth random images of many sizes: what resizing does to them is visible."""
  rng = np.random.default_rng(0)
  small = [rng.integers(0, 256, (5, 5, 3), np.uint8) for _ in SHAPES]
  return [
    cv2.resize(image, shape[::-1], interpolation=cv2.INTER_CUBIC) for image, shape in zip(small, SHAPES, strict=True)
  ]


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
  """Nets of 64 pixels from a shorter side of 73, one of images of 64 pixels, and a CIFAR net; their directories."""
  root = tmp_path_factory.mktemp("nets")
  streamed = Data(name="folder", image_size=64, resize=(73, 90))
  return {
    "resized": random_networks.write(root / "resized", IMAGENET, streamed, 64, CLASSES),
    "other": random_networks.write(root / "other", IMAGENET, streamed, 64, CLASSES, seed=1, mean_image=True),
    "whole": random_networks.write(
      root / "whole", IMAGENET, dataclasses.replace(streamed, resize=()), 64, CLASSES, seed=2, mean_image=True
    ),
    "cifar": random_networks.write(root / "cifar", CIFAR, Data(), 32, CLASSES, seed=3, mean_image=True),
  }


def image_set(pictures):
  labels = [i % CLASSES for i in range(len(pictures))]
  return ImageSet("photos", "", "", CLASSES, (), lambda _: zip(pictures, labels, strict=True), [])


def probabilities(net, view, mean=None):
  """Returns what a net gives for one view, float [H, W, 3] of pixel / 255, alone in its batch."""
  statistics = net.input.statistics
  x = (view - (np.asarray(statistics.mean) if mean is None else mean)) / statistics.std
  return of_normalized(net, x)


@functools.partial(jax.jit, static_argnums=0)
def apply(net, variables, images):
  return net.apply(variables, images, train=False)


def of_normalized(net, x):
  logits = np.asarray(apply(models.build(net.config.model, net.classes), net.variables, np.float32(x)[None]))
  raised = np.exp(logits[0] - logits[0].max())
  return raised / raised.sum()


def resize(image, height, width):
  shrinks = height * width < image.shape[0] * image.shape[1]
  return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def middle(image, height, width):
  top, left = int(0.5 * (image.shape[0] - height + 1)), int(0.5 * (image.shape[1] - width + 1))
  return image[top : top + height, left : left + width]


def slow(net, image, protocol):
  """Returns the probabilities of one image, written out from what the protocol says."""
  side, _, _ = net.input.image_shape
  resized_to = net.config.data.resize[0] if net.config.data.name == "folder" and net.config.data.resize else side
  shorter = min(image.shape[:2])
  if protocol == "multiscale":
    return slow_scales(net, image)
  if protocol == "single":
    own = round(shorter * side / resized_to)
    return probabilities(net, resize(middle(image, own, own), side, side) / 255)
  square = resize(middle(image, shorter, shorter), resized_to, resized_to)
  gives = []
  for top, left in ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)):
    if resized_to == side:
      pad, statistics = net.config.data.pad, net.input.statistics
      normalized = np.pad((square / 255 - statistics.mean) / statistics.std, ((pad, pad), (pad, pad), (0, 0)))
      row, column = int(top * 2 * pad), int(left * 2 * pad)
      crop = normalized[row : row + side, column : column + side]
      gives += [of_normalized(net, crop), of_normalized(net, crop[:, ::-1])]
    else:
      row, column = int(top * (resized_to - side)), int(left * (resized_to - side))
      crop, mean = square[row : row + side, column : column + side] / 255, net.input.statistics.mean
      statistics = net.input.statistics
      normalized = (crop - mean) / statistics.std
      gives += [of_normalized(net, normalized), of_normalized(net, normalized[:, ::-1])]
  return np.mean(gives, axis=0)


def slow_scales(net, image):
  side, _, _ = net.input.image_shape
  mean = np.asarray(net.input.statistics.mean).reshape(-1, 3).mean(0)
  stride = 32 if net.config.model.family == "imagenet" else 4
  shorter = min(image.shape[:2])
  image = middle_of_long(image, 4 * shorter)
  gives = []
  for scale in (224, 256, 384, 480, 640):
    factor = scale * side / 224 / shorter
    height, width = (max(round(length * factor / stride), 1) * stride for length in image.shape[:2])
    view = resize(image, height, width) / 255
    gives += [probabilities(net, view, mean), probabilities(net, view[:, ::-1], mean)]
  return np.mean(gives, axis=0)


def middle_of_long(image, limit):
  height, width = image.shape[:2]
  top, left = max(height - limit, 0) // 2, max(width - limit, 0) // 2
  return image[top : top + limit, left : left + limit]


class Kept(score.Score):
  """A score that keeps what it is given."""

  def __init__(self, classes):
    super().__init__(classes)
    self.kept = {}

  def add(self, probabilities, label):
    super().add(probabilities, label)
    self.kept.setdefault(label, []).append(probabilities)


@pytest.fixture
def kept(monkeypatch):
  """Every score that is made from now on."""
  made = []

  def make(classes):
    made.append(Kept(classes))
    return made[-1]

  monkeypatch.setattr(score, "Score", make)
  return made


@pytest.mark.parametrize(
  ("name", "protocol", "count"),
  [
    *(("resized", "single", CLASSES), ("other", "10crop", 3), ("resized", "multiscale", 1)),
    *(("whole", "10crop", 3), ("cifar", "single", CLASSES), ("cifar", "10crop", 3)),
  ],
)
def test_equals_a_slow_reference(name, protocol, count, nets, photos, kept):
  """float32, the same pixels, batched otherwise: 1e-5 of a probability."""
  net = run_files.read(nets[name])
  pictures = photos[:count]
  score.evaluate([net], image_set(pictures), PROTOCOLS[protocol])
  for label, image in enumerate(pictures):
    np.testing.assert_allclose(kept[0].kept[label][0], slow(net, image, protocol), atol=1e-5)


def test_sides_of_scales_and_the_middle_of_a_long_image(nets, photos):
  """Of 40 by 400 pixels the middle 160 are shown; sides are multiples of 32 near 64, 73.1, 109.7, 137.1, 182.9."""
  views = scale_views(photos[7], size_of(run_files.read(nets["resized"])))
  assert [view.shape[:2] for view in views] == [(64, 256), (64, 288), (96, 448), (128, 544), (192, 736)]
  exact = scale_views(photos[2], size_of(run_files.read(nets["cifar"])))  # of stride 4: near 32, 36.6, 54.9, 68.6, 91.4
  assert [view.shape[0] for view in exact] == [32, 36, 56, 68, 92]
  marked = np.zeros((40, 400, 3), np.uint8)
  marked[:, :120] = marked[:, 280:] = 255
  assert max(view.max() for view in scale_views(marked, size_of(run_files.read(nets["resized"])))) == 0


@pytest.mark.parametrize("protocol", ["single", "10crop"])
def test_an_ensemble_of_one_equals_its_member_and_of_two_is_their_mean(protocol, nets, photos, kept):
  one, other = run_files.read(nets["resized"]), run_files.read(nets["other"])
  for some in ([one], [other], [one, one], [one, other]):
    score.evaluate(some, image_set(photos[:CLASSES:3]), PROTOCOLS[protocol])
  first, second, twice, both = ([own for some in each.kept.values() for own in some] for each in kept)
  np.testing.assert_array_equal(first, twice)
  np.testing.assert_allclose(np.mean([first, second], axis=0), both, atol=1e-15)
  assert np.abs(np.subtract(first, second)).max() > 0.01


@pytest.mark.parametrize(("batch_size", "count"), [(8, 61), (24, 24), (24, 7), (512, 61)])
def test_every_image_counts_once(batch_size, count, nets, kept):
  net = run_files.read(nets["cifar"])
  config = dataclasses.replace(net.config, evaluation=Evaluation(batch_size=batch_size))
  net = dataclasses.replace(net, config=config)
  pictures = list(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8))
  result = score.evaluate([net], image_set(pictures), PROTOCOLS["single"])
  assert result.images == count
  gives = np.stack([kept[0].kept[i % CLASSES][i // CLASSES] for i in range(count)])
  alone = np.stack([slow(net, image, "single") for image in pictures[:5]])
  np.testing.assert_allclose(gives[:5], alone, atol=1e-5)
  ranks = (gives > gives[np.arange(count), np.arange(count) % CLASSES, None]).sum(1)
  assert (result.wrong, result.top5_wrong) == ((ranks > 0).sum(), (ranks >= 5).sum())
  assert result.error == result.wrong / count and result.top5_error == result.top5_wrong / count


def test_of_equally_probable_classes_the_first_is_the_answer():
  result = score.Score(6)
  for label in range(6):
    result.add(np.full(6, 1 / 6), label)
  assert (result.images, result.wrong, result.top5_wrong) == (6, 5, 1)


def test_no_top5_error_of_five_classes():
  result = score.Score(5)
  result.add(np.array([0.1, 0.2, 0.3, 0.4, 0.0]), 4)
  assert result.error == 1.0 and result.top5_error is None


def test_what_is_not_finite_is_no_answer():
  with pytest.raises(score.NotFinite, match="the probabilities of image 1 are not finite"):
    score.Score(3).add(np.array([0.1, np.nan, 0.1]), 0)


def test_few_shapes_for_many_sizes(nets):
  """A thousand photographs, up to three times as long as wide: no more shapes than there are multiples of the stride.

  Where the shorter side is m strides the longer one is m to 3m, in either direction.
  """
  size, rng = size_of(run_files.read(nets["resized"])), np.random.default_rng(0)
  sizes = rng.integers(100, 300, (1000, 2))
  shapes = {view.shape for height, width in sizes for view in scale_views(np.zeros((height, width, 3), np.uint8), size)}
  assert len({tuple(size) for size in sizes}) > 900
  shorter = [round(side * size.side / CROP / size.stride) for side in SIDES]
  assert len(shapes) <= sum(4 * m + 1 for m in set(shorter))


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (
      lambda nets: [nets[0], dataclasses.replace(nets[1], classes=9)],
      "classes of .*other are 9, must be 7 as of .*resized",
    ),
    (lambda nets: [nets[0], nets[2]], "not an ensemble: images of .*cifar are"),
    (lambda nets: [dataclasses.replace(nets[0], classes=9)], "photos has 7 classes, must be 9"),
  ],
)
def test_what_does_not_fit_is_refused(change, said, nets, photos):
  some = [run_files.read(nets[name]) for name in ("resized", "other", "cifar")]
  with pytest.raises(ConfigError, match=said):
    score.evaluate(change(some), image_set(photos), PROTOCOLS["single"])


def test_grey_images_do_not_fit_a_colour_net(nets):
  grey = [np.zeros((32, 32, 1), np.uint8)]
  with pytest.raises(ConfigError, match="photos: images have 1 channels, must have 3"):
    score.evaluate([run_files.read(nets["cifar"])], image_set(grey), PROTOCOLS["single"])
  with pytest.raises(ConfigError, match="photos: no image to test on"):
    score.evaluate([run_files.read(nets["cifar"])], image_set([]), PROTOCOLS["single"])


def test_members_share_statistics_with_no_one(nets):
  """Each member normalises with its own statistics: the same weights and another mean give another answer."""
  net = run_files.read(nets["cifar"])
  taken = run_files.InputSpec(net.input.image_shape, Statistics(np.zeros(3, np.float32), np.ones(3, np.float32)))
  other = dataclasses.replace(net, input=taken)
  view = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
  with jax.set_mesh(mesh.from_devices(jax.devices(), 1)):
    one, both = (Ensemble(some).probabilities(PROTOCOLS["single"], view) for some in ([net], [net, other]))
  assert np.abs(one - both).max() > 0.01
