"""Evaluation protocols against a reference that computes one view at a time; ensembles; counting of images."""

import dataclasses

import cv2
import jax
import numpy as np
import pytest

from resjax import mesh
from resjax.config import Data, Evaluation, Model
from resjax.data.augment import Statistics
from resjax.evaluation import score
from resjax.evaluation.ensemble import Ensemble, size_of
from resjax.evaluation.images import ImageSet
from resjax.evaluation.protocols import CROP, PROTOCOLS, SIDES, scale_views
from resjax.settings import ConfigError
from resjax.train import run_files
from tests import random_networks
from tests.evaluation_reference import reference
from tests.synthetic_images import SHAPES

CLASSES = 7
IMAGENET = Model(family="imagenet", depth=10, blocks=(1, 1, 1, 1), width=8, shortcut="B")
CIFAR = Model(depth=8)


@pytest.fixture(scope="module")
def photos():
  """Returns smooth random images of many sizes, on which errors of resizing are visible."""
  rng = np.random.default_rng(0)
  small = [rng.integers(0, 256, (5, 5, 3), np.uint8) for _ in SHAPES]
  return [
    cv2.resize(image, shape[::-1], interpolation=cv2.INTER_CUBIC) for image, shape in zip(small, SHAPES, strict=True)
  ]


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
  """Returns the run directories of four networks by name.

  "resized" and "other" take crops of 64 pixels from images with a shorter side of 73. "whole" takes images of 64
  pixels, "cifar" images of 32 pixels.
  """
  root = tmp_path_factory.mktemp("nets")
  streamed = Data(name="folder", image_size=64, resize=(73, 90))
  return {
    "resized": random_networks.write_run(root / "resized", IMAGENET, streamed, 64, CLASSES),
    "other": random_networks.write_run(root / "other", IMAGENET, streamed, 64, CLASSES, seed=1, mean_image=True),
    "whole": random_networks.write_run(
      root / "whole", IMAGENET, dataclasses.replace(streamed, resize=()), 64, CLASSES, seed=2, mean_image=True
    ),
    "cifar": random_networks.write_run(root / "cifar", CIFAR, Data(), 32, CLASSES, seed=3, mean_image=True),
  }


def image_set(pictures):
  """Returns a test set of images, whose labels repeat 0 to 6."""
  labels = [i % CLASSES for i in range(len(pictures))]
  return ImageSet("photos", "", "", CLASSES, (), lambda _: zip(pictures, labels, strict=True), [])


class RecordingScore(score.Score):
  """A score that records the probabilities of each image, by label."""

  def __init__(self, classes):
    super().__init__(classes)
    self.recorded = {}

  def add(self, probabilities, label):
    super().add(probabilities, label)
    self.recorded.setdefault(label, []).append(probabilities)


@pytest.fixture
def scores(monkeypatch):
  """Returns a list to which every score is added that the evaluation creates."""
  created = []

  def make(classes):
    created.append(RecordingScore(classes))
    return created[-1]

  monkeypatch.setattr(score, "Score", make)
  return created


@pytest.mark.parametrize(
  ("name", "protocol", "count"),
  [
    *(("resized", "single", CLASSES), ("other", "10crop", 3), ("resized", "multiscale", 1)),
    *(("whole", "10crop", 3), ("cifar", "single", CLASSES), ("cifar", "10crop", 3)),
  ],
)
def test_probabilities_are_those_of_the_reference(name, protocol, count, nets, photos, scores):
  """Probabilities from the same pixels in other batches agree to 1e-5."""
  net = run_files.read(nets[name])
  pictures = photos[:count]
  score.evaluate([net], image_set(pictures), PROTOCOLS[protocol])
  for label, image in enumerate(pictures):
    np.testing.assert_allclose(scores[0].recorded[label][0], reference(net, image, protocol), atol=1e-5)


def test_multiscale_views_have_sides_of_multiples_of_the_stride_and_limited_length(nets, photos):
  """The shorter sides are near 64, 73.1, 109.7, 137.1 and 182.9; of 40 by 400 pixels the center of 160 is used."""
  views = scale_views(photos[7], size_of(run_files.read(nets["resized"])))
  assert [view.shape[:2] for view in views] == [(64, 256), (64, 288), (96, 448), (128, 544), (192, 736)]
  exact = scale_views(photos[2], size_of(run_files.read(nets["cifar"])))  # of stride 4: near 32, 36.6, 54.9, 68.6, 91.4
  assert [view.shape[0] for view in exact] == [32, 36, 56, 68, 92]
  marked = np.zeros((40, 400, 3), np.uint8)
  marked[:, :120] = marked[:, 280:] = 255
  assert max(view.max() for view in scale_views(marked, size_of(run_files.read(nets["resized"])))) == 0


@pytest.mark.parametrize("protocol", ["single", "10crop"])
def test_the_probabilities_of_an_ensemble_are_the_mean_of_its_members(protocol, nets, photos, scores):
  one, other = run_files.read(nets["resized"]), run_files.read(nets["other"])
  for some in ([one], [other], [one, one], [one, other]):
    score.evaluate(some, image_set(photos[:CLASSES:3]), PROTOCOLS[protocol])
  first, second, twice, both = ([own for some in each.recorded.values() for own in some] for each in scores)
  np.testing.assert_array_equal(first, twice)
  np.testing.assert_allclose(np.mean([first, second], axis=0), both, atol=1e-15)
  assert np.abs(np.subtract(first, second)).max() > 0.01


@pytest.mark.parametrize(("batch_size", "count"), [(8, 61), (24, 24), (24, 7), (512, 61)])
def test_every_image_is_counted_once(batch_size, count, nets, scores):
  net = run_files.read(nets["cifar"])
  config = dataclasses.replace(net.config, evaluation=Evaluation(batch_size=batch_size))
  net = dataclasses.replace(net, config=config)
  pictures = list(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8))
  result = score.evaluate([net], image_set(pictures), PROTOCOLS["single"])
  assert result.images == count
  outputs = np.stack([scores[0].recorded[i % CLASSES][i // CLASSES] for i in range(count)])
  separate = np.stack([reference(net, image, "single") for image in pictures[:5]])
  np.testing.assert_allclose(outputs[:5], separate, atol=1e-5)
  ranks = (outputs > outputs[np.arange(count), np.arange(count) % CLASSES, None]).sum(1)
  assert (result.wrong, result.top5_wrong) == ((ranks > 0).sum(), (ranks >= 5).sum())
  assert result.error == result.wrong / count and result.top5_error == result.top5_wrong / count


def test_the_first_of_equally_probable_classes_is_predicted():
  result = score.Score(6)
  for label in range(6):
    result.add(np.full(6, 1 / 6), label)
  assert (result.images, result.wrong, result.top5_wrong) == (6, 5, 1)


def test_five_classes_have_no_top5_error():
  result = score.Score(5)
  result.add(np.array([0.1, 0.2, 0.3, 0.4, 0.0]), 4)
  assert result.error == 1.0 and result.top5_error is None


def test_probabilities_that_are_not_finite_are_an_error():
  with pytest.raises(score.NotFinite, match="the probabilities of image 1 are not finite"):
    score.Score(3).add(np.array([0.1, np.nan, 0.1]), 0)


def test_images_of_many_sizes_have_views_of_few_shapes(nets):
  """For a thousand sizes with aspect ratios of up to 3, the sides are multiples of the stride.

  If the shorter side is m strides, the longer one is m to 3m strides, horizontally or vertically.
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
      "number of classes of .*other is 9, must be 7 as that of .*resized",
    ),
    (lambda nets: [nets[0], nets[2]], "not an ensemble: size of the input of .*cifar is 32, must be 64 as that of .*"),
    (lambda nets: [dataclasses.replace(nets[0], classes=9)], "photos has 7 classes, must be 9"),
  ],
)
def test_members_and_data_that_do_not_match_are_refused(change, said, nets, photos):
  some = [run_files.read(nets[name]) for name in ("resized", "other", "cifar")]
  with pytest.raises(ConfigError, match=said):
    score.evaluate(change(some), image_set(photos), PROTOCOLS["single"])


def with_settings(net, model=None, **changes):
  """Returns a network with other settings of its data set, and of itself."""
  config = dataclasses.replace(net.config, data=dataclasses.replace(net.config.data, **changes))
  return dataclasses.replace(net, config=config if model is None else dataclasses.replace(config, model=model))


def test_an_ensemble_needs_equal_settings_only_where_its_protocol_uses_them(nets, photos):
  """Settings of the data set differ. They have an effect on one network alone, which is tested as a reference."""
  cifar, resized = (run_files.read(nets[name]) for name in ("cifar", "resized"))
  pad, shorter = with_settings(cifar, pad=0), with_settings(resized, resize=(80, 90))
  pictures = image_set(photos[:2])
  for some, protocol, said in (
    ([cifar, pad], "single", ""),
    ([cifar, pad], "multiscale", ""),
    ([cifar, pad], "10crop", "data.pad of .*cifar is 0, must be 4 as that of .*cifar$"),
    ([resized, with_settings(resized, pad=0)], "10crop", ""),  # its crops are not padded
    ([resized, shorter], "multiscale", ""),
    ([resized, shorter], "single", "shorter side of the resized images of .* is 80, must be 73 as that of .*"),
  ):
    with jax.set_mesh(mesh.from_devices(jax.devices(), 1)):
      if said:
        with pytest.raises(ConfigError, match=f"not an ensemble: {said}"):
          Ensemble(some, PROTOCOLS[protocol])
      else:
        assert Ensemble(some, PROTOCOLS[protocol]).size == size_of(some[0])
  assert score.evaluate([cifar, pad], pictures, PROTOCOLS["single"]).wrong == (
    score.evaluate([cifar], pictures, PROTOCOLS["single"]).wrong
  )


def test_the_stride_of_an_ensemble_is_a_multiple_of_those_of_its_networks(nets):
  """The second network, whose stride is 16, is one of stride 4 with other settings, because it is not executed."""
  cifar = run_files.read(nets["cifar"])
  other = with_settings(cifar, model=Model(depth=8, stem="7x7", shortcut="C"))
  with jax.set_mesh(mesh.from_devices(jax.devices(), 1)):
    assert [Ensemble(some, PROTOCOLS["multiscale"]).size.stride for some in ([cifar], [cifar, other])] == [4, 16]


@pytest.mark.parametrize(
  "model",
  [
    Model(family="vgg", kind="plain", depth=16, block="single", norm="none"),
    Model(family="mlp", depth=8, block="dense"),
  ],
)
def test_networks_with_dense_layers_are_not_tested_at_several_scales(nets, model):
  net = with_settings(run_files.read(nets["cifar"]), model=model)
  said = (
    f"^{net.directory}: a network with dense layers takes images of one size only; use --protocol single or 10crop$"
  )
  with pytest.raises(ConfigError, match=said):
    score.evaluate([net], image_set([]), PROTOCOLS["multiscale"])


def test_classes_of_other_names_are_refused_where_names_are_recorded(nets, photos):
  net, names = run_files.read(nets["cifar"]), tuple("abcdefg")
  named, tested = dataclasses.replace(net, class_names=names), image_set(photos[:1])
  other = dataclasses.replace(tested, class_names=("a", "b", "C", "d", "e", "f", "g"))
  for nets_, some in (([named], tested), ([net], other), ([net, named], dataclasses.replace(other, class_names=names))):
    assert score.evaluate(nets_, some, PROTOCOLS["single"]).images == 1
  with pytest.raises(ConfigError, match=f"^photos: class 3 is 'C', must be 'c' as that of {net.directory}$"):
    score.evaluate([net, named], other, PROTOCOLS["single"])
  with pytest.raises(ConfigError, match=f"^{net.directory}: class 1 is 'g', must be 'a' as that of {net.directory}$"):
    score.evaluate([named, dataclasses.replace(net, class_names=names[::-1])], tested, PROTOCOLS["single"])


def test_gray_images_and_empty_test_sets_are_refused(nets):
  grey = [np.zeros((32, 32, 1), np.uint8)]
  with pytest.raises(ConfigError, match="photos: images have 1 channels, must have 3"):
    score.evaluate([run_files.read(nets["cifar"])], image_set(grey), PROTOCOLS["single"])
  with pytest.raises(ConfigError, match="photos: no image to test on"):
    score.evaluate([run_files.read(nets["cifar"])], image_set([]), PROTOCOLS["single"])


def test_each_member_normalizes_images_with_its_own_statistics(nets):
  net = run_files.read(nets["cifar"])
  taken = run_files.InputSpec(net.input.image_shape, Statistics(np.zeros(3, np.float32), np.ones(3, np.float32)))
  other = dataclasses.replace(net, input=taken)
  view = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
  with jax.set_mesh(mesh.from_devices(jax.devices(), 1)):
    one, both = (
      Ensemble(some, PROTOCOLS["single"]).probabilities(PROTOCOLS["single"], view) for some in ([net], [net, other])
    )
  assert np.abs(one - both).max() > 0.01
