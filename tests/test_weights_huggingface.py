"""ResNets of Hugging Face's transformers: the same logits here as there at all five depths, and what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from resjax.settings import ConfigError
from resjax.weights import import_run
from tests.test_weights_torch import logits, theirs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
foreign = pytest.importorskip("tests.third_party_networks")
parity = pytest.importorskip("tests.torch_parity")

BASIC = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512]}
DEPTHS = {
  18: BASIC | {"depths": [2, 2, 2, 2]},
  34: BASIC | {"depths": [3, 4, 6, 3]},
  50: {"depths": [3, 4, 6, 3]},
  101: {"depths": [3, 4, 23, 3]},
  152: {"depths": [3, 8, 36, 3]},
}
SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "layer_type": "basic", "num_labels": 5}
SMALL_BOTTLENECK = SMALL | {"hidden_sizes": [32, 64], "layer_type": "bottleneck"}


def saved(folder, **settings):
  """Writes a net with random weights, scales and statistics as transformers does, and returns it.

  What the blocks add is kept small, so that signals do not grow from block to block.
  """
  torch.manual_seed(0)
  config = transformers.ResNetConfig(**settings)
  net = foreign.randomize(transformers.ResNetForImageClassification(config)).eval()
  for name, module in net.named_modules():
    last = 2 if config.layer_type == "bottleneck" else 1
    if name.endswith(f".layer.{last}.normalization"):
      torch.nn.init.uniform_(module.weight, 0.1, 0.3)
  net.save_pretrained(folder)
  return net


def difference(folder, net, side=64, **normalisation):
  """Returns how far our logits are from theirs, by norm."""
  images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
  weights = import_run.read("huggingface", folder, None)
  return weights, parity.relative_distance(
    logits(weights, images), theirs(lambda x: net(x).logits, images, **normalisation)
  )


@pytest.mark.parametrize("depth", DEPTHS)
def test_gives_their_logits(depth, tmp_path):
  """float32 in two libraries, through at most 152 layers: 1e-3 by norm."""
  weights, distance = difference(tmp_path, saved(tmp_path, num_labels=11, **DEPTHS[depth]))
  assert distance < 1e-3
  assert (weights.model.depth, weights.classes, weights.model.family) == (depth, 11, "imagenet")
  assert weights.model.bottleneck_stride == "3x3"


def test_stride_on_the_first_layer_of_a_bottleneck(tmp_path):
  net = saved(tmp_path, downsample_in_bottleneck=True, **SMALL_BOTTLENECK)
  weights, distance = difference(tmp_path, net)
  assert weights.model.bottleneck_stride == "1x1" and distance < 1e-4


def test_the_preprocessor_says_how_images_are_normalised(tmp_path):
  net = saved(tmp_path, **SMALL)
  path = tmp_path / "preprocessor_config.json"
  path.write_text(json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.2, 0.1]}))
  _, distance = difference(tmp_path, net, mean=(0.5, 0.4, 0.3), std=(0.3, 0.2, 0.1))
  assert distance < 1e-4
  for wrong, said in (("[", "cannot be read"), ('{"image_mean": [1], "image_std": "x"}', "must be lists of numbers")):
    path.write_text(wrong)
    with pytest.raises(ConfigError, match=rf"^{path}: .*{said}"):
      import_run.read("huggingface", tmp_path, None)


def test_the_file_or_its_folder_in_either_format(tmp_path):
  """A PyTorch file is read by its name, and a net that was compiled too."""
  net = saved(tmp_path, **SMALL)
  ways = [import_run.read("huggingface", path, None) for path in (tmp_path, tmp_path / "model.safetensors")]
  (tmp_path / "model.safetensors").unlink()
  torch.save({f"_orig_mod.{name}": value for name, value in net.state_dict().items()}, tmp_path / "pytorch_model.bin")
  ways.append(import_run.read("huggingface", tmp_path, None))
  kernels = [way.variables["params"]["stage2"]["block2"]["conv1"]["kernel"] for way in ways]
  assert all(np.array_equal(kernel, kernels[0]) for kernel in kernels)
  (tmp_path / "pytorch_model.bin").unlink()
  with pytest.raises(ConfigError, match=r"contains neither model\.safetensors nor pytorch_model\.bin"):
    import_run.read("huggingface", tmp_path, None)


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (None, "config.json: missing; it is needed to describe the network"),
    ({"model_type": "convnext"}, "model_type is 'convnext', must be 'resnet'"),
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu', must be 'relu'"),
    ({"layer_type": "single"}, "layer_type is 'single', must be 'basic' or 'bottleneck'"),
    ({"downsample_in_first_stage": True}, "downsample_in_first_stage is True"),
    ({"depths": [1, "2"]}, r"depths is \[1, '2'\], must be positive integers"),
    ({"embedding_size": None}, "embedding_size is None"),
    ({"hidden_sizes": [8, 24]}, r"hidden_sizes is \[8, 24\], must be \[8, 16\]"),
    ({"depths": [1, 1]}, r"unexpected: resnet.encoder.stages.1.layers.1.layer.0.convolution.weight, .* and \d+ more"),
    ({"depths": [1, 3]}, "missing: resnet.encoder.stages.1.layers.2.layer.0.convolution.weight"),
  ],
)
def test_what_does_not_fit_is_named(change, said, tmp_path):
  saved(tmp_path, **SMALL)
  path = tmp_path / "config.json"
  if change is None:
    path.unlink()
  else:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(ConfigError, match=said) as refusal:
    import_run.read("huggingface", tmp_path, None)
  assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 600


def test_a_net_without_its_last_layer(tmp_path):
  transformers.ResNetModel(transformers.ResNetConfig(**SMALL)).save_pretrained(tmp_path)
  with pytest.raises(ConfigError, match=r"has no classifier\.1\.weight"):
    import_run.read("huggingface", tmp_path, None)


def test_their_names_are_known_elsewhere(tmp_path):
  saved(tmp_path, **SMALL)
  with pytest.raises(ConfigError, match="has the names of Hugging Face's transformers: --from huggingface"):
    import_run.read("torchvision", tmp_path / "model.safetensors", None)


def test_the_command(tmp_path):
  saved(tmp_path / "net", **SMALL)
  command = [sys.executable, "-m", "resjax.convert", "--from", "huggingface", str(tmp_path / "net")]
  ended = subprocess.run(
    [*command, "--out", str(tmp_path / "run")],
    capture_output=True,
    text=True,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
  )
  assert (ended.returncode, ended.stderr) == (0, "")
  assert "resnet.encoder.stages.1.layers.0.shortcut.convolution -> stage2/block1/projection\n" in ended.stdout
