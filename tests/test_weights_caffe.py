"""Conversion of the released Caffe networks: logits against their layers, and errors of other files."""

import numpy as np
import pytest

from resjax.settings import ConfigError
from resjax.weights import caffe_files, import_run

pytest.importorskip("torch")
third_party = pytest.importorskip("tests.third_party_networks")
parity = pytest.importorskip("tests.torch_parity")

MEAN = np.array([123.68, 116.779, 103.939])


def write(path, net):
  """Writes a .caffemodel file and returns its path."""
  path.write_bytes(net.caffemodel())
  return path


def agree(weights, net, images, mean):
  """Returns whether float32 logits of the converted network agree with float64 logits of the original to 1e-4."""
  expected = net((images - mean)[..., ::-1].transpose(0, 3, 1, 2).copy())
  return np.linalg.norm(np.asarray(parity.logits(weights, images)) - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.fixture(scope="module")
def images():
  return np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)


@pytest.mark.parametrize(("blocks", "old"), [((2, 1, 1, 1), False), ((1, 1, 6, 1), True)], ids=["letters", "numbers"])
def test_converted_networks_have_the_logits_of_the_caffe_layers(blocks, old, images, tmp_path):
  net = third_party.CaffeNet(blocks, 8, 5, old)
  weights = import_run.read("caffe", write(tmp_path / "x.caffemodel", net), None)
  assert (weights.model.bottleneck_stride, weights.model.pool_padding) == ("1x1", "behind")
  assert weights.model.blocks == blocks and weights.classes == 5
  assert weights.mapped["scale2a_branch1"] == "stage1/block1/projection_norm"
  assert agree(weights, net, images, MEAN)


def test_the_mean_image_is_converted(images, tmp_path):
  net = third_party.CaffeNet((1, 1, 1, 1), 8, 5)
  mean = np.random.default_rng(1).uniform(90, 130, (224, 224, 3))
  blue_first = mean[..., ::-1].transpose(2, 0, 1)[None]
  (tmp_path / "mean.binaryproto").write_bytes(third_party.blob(blue_first, old=True).SerializeToString())
  path = write(tmp_path / "x.caffemodel", net)
  weights = import_run.read("caffe", path, tmp_path / "mean.binaryproto")
  assert agree(weights, net, images, mean)
  assert not agree(import_run.read("caffe", path, None), net, images, mean)
  assert np.allclose(np.multiply(weights.data.mean, 255), mean.mean((0, 1)))


def rename(net, old, new):
  """Renames a layer."""
  net.layers[new] = net.layers.pop(old)


@pytest.mark.parametrize(
  ("spoil", "said"),
  [
    (lambda net: net.layers.pop("res3a_branch2b"), "missing: res3a_branch2b.weight"),
    (
      lambda net: rename(net, "scale2a_branch1", "other"),
      "missing: scale2a_branch1.bias, scale2a_branch1.weight; unexpected: other.bias, other.weight",
    ),
    (lambda net: net.layers.pop("fc1000"), "has no layer fc1000"),
    (lambda net: net.layers["bn_conv1"][1].pop(), "layer bn_conv1 of type BatchNorm with 2 arrays"),
    (lambda net: net.layers.update(lrn=("LRN", [np.zeros(1)])), "layer lrn of type LRN with 1 arrays"),
    (
      lambda net: net.layers.update(res2a_branch2b=("Convolution", [np.zeros((8, 8, 5, 5))])),
      r"wrong: res2a_branch2b.weight is \[8, 8, 5, 5\], must be \[8, 8, 3, 3\]",
    ),
    (lambda net: [net.layers.pop(name) for name in list(net.layers) if "3a" in name], r"has stages \[2, 4, 5\]"),
  ],
)
def test_missing_and_unexpected_layers_are_named(spoil, said, tmp_path):
  net = third_party.CaffeNet((1, 1, 1, 1), 8, 5)
  spoil(net)
  with pytest.raises(ConfigError, match=said) as refusal:
    import_run.read("caffe", write(tmp_path / "x.caffemodel", net), None)
  assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
  "content",
  [b"", b"no weights", third_party.CaffeNet((1, 1, 1, 1), 8, 5).caffemodel()[:5000]],
  ids=["empty", "text", "cut"],
)
def test_files_that_are_no_caffe_models_are_refused(content, tmp_path):
  (tmp_path / "x.caffemodel").write_bytes(content)
  with pytest.raises(ConfigError, match=r"x.caffemodel: not a "):
    caffe_files.read(tmp_path / "x.caffemodel")
  with pytest.raises(ConfigError, match=r"x.caffemodel: not a "):
    caffe_files.read_mean(tmp_path / "x.caffemodel")
  with pytest.raises(ConfigError, match="no such file"):
    caffe_files.read(tmp_path / "absent")


def test_a_mean_image_of_another_size_is_refused(tmp_path):
  (tmp_path / "mean").write_bytes(third_party.blob(np.ones((1, 3, 256, 256))).SerializeToString())
  with pytest.raises(ConfigError, match=r"the mean image is \[256, 256, 3\], must be \[224, 224, 3\]"):
    import_run.read("caffe", write(tmp_path / "x", third_party.CaffeNet((1, 1, 1, 1), 8, 5)), tmp_path / "mean")
