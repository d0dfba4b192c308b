"""Conversion of ResNets of Hugging Face's transformers: logits at all five depths, and errors."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from resjax.settings import ConfigError
from resjax.weights import import_run

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
third_party = pytest.importorskip("tests.third_party_networks")
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
  """Writes a random network with transformers and returns it.

  The last scales of main branches are small, so that signals do not grow from block to block.

  Args:
    folder: Folder to write to.
    **settings: Settings of the ResNetConfig.
  """
  torch.manual_seed(0)
  config = transformers.ResNetConfig(**settings)
  net = third_party.randomize_norms(transformers.ResNetForImageClassification(config)).eval()
  for name, module in net.named_modules():
    last = 2 if config.layer_type == "bottleneck" else 1
    if name.endswith(f".layer.{last}.normalization"):
      torch.nn.init.uniform_(module.weight, 0.1, 0.3)
  net.save_pretrained(folder)
  return net


def convert(folder, net, side=64, **normalization):
  """Converts a network; returns its weights and the relative distance of its logits from the original ones."""
  images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
  weights = import_run.read("huggingface", folder, None)
  return weights, parity.relative_distance(
    parity.logits(weights, images), parity.torch_logits(lambda x: net(x).logits, images, **normalization)
  )


@pytest.mark.parametrize("depth", DEPTHS)
def test_converted_networks_have_the_same_logits(depth, tmp_path):
  """float32 logits of two libraries agree to 1e-3 by norm."""
  weights, distance = convert(tmp_path, saved(tmp_path, num_labels=11, **DEPTHS[depth]))
  assert distance < 1e-3
  assert (weights.model.depth, weights.classes, weights.model.family) == (depth, 11, "imagenet")
  assert weights.model.bottleneck_stride == "3x3"


def test_the_stride_can_be_on_the_first_layer_of_a_bottleneck(tmp_path):
  net = saved(tmp_path, downsample_in_bottleneck=True, **SMALL_BOTTLENECK)
  weights, distance = convert(tmp_path, net)
  assert weights.model.bottleneck_stride == "1x1" and distance < 1e-4


def test_the_normalization_is_that_of_the_preprocessor(tmp_path):
  net = saved(tmp_path, **SMALL)
  path = tmp_path / "preprocessor_config.json"
  path.write_text(json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.2, 0.1]}))
  _, distance = convert(tmp_path, net, mean=(0.5, 0.4, 0.3), std=(0.3, 0.2, 0.1))
  assert distance < 1e-4
  for wrong, said in (("[", "cannot be read"), ('{"image_mean": [1], "image_std": "x"}', "must be lists of numbers")):
    path.write_text(wrong)
    with pytest.raises(ConfigError, match=rf"^{path}: .*{said}"):
      import_run.read("huggingface", tmp_path, None)


def test_files_of_both_formats_and_folders_are_read(tmp_path):
  """The PyTorch file has the prefixes of a compiled network."""
  net = saved(tmp_path, **SMALL)
  imported = [import_run.read("huggingface", path, None) for path in (tmp_path, tmp_path / "model.safetensors")]
  (tmp_path / "model.safetensors").unlink()
  torch.save({f"_orig_mod.{name}": value for name, value in net.state_dict().items()}, tmp_path / "pytorch_model.bin")
  imported.append(import_run.read("huggingface", tmp_path, None))
  kernels = [each.variables["params"]["stage2"]["block2"]["conv1"]["kernel"] for each in imported]
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
def test_unsupported_configurations_are_named(change, said, tmp_path):
  saved(tmp_path, **SMALL)
  path = tmp_path / "config.json"
  if change is None:
    path.unlink()
  else:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(ConfigError, match=said) as refusal:
    import_run.read("huggingface", tmp_path, None)
  assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 600


def test_a_network_without_a_classifier_is_an_error(tmp_path):
  transformers.ResNetModel(transformers.ResNetConfig(**SMALL)).save_pretrained(tmp_path)
  with pytest.raises(ConfigError, match=r"has no classifier\.1\.weight"):
    import_run.read("huggingface", tmp_path, None)


def test_the_error_of_the_wrong_project_names_the_right_one(tmp_path):
  saved(tmp_path, **SMALL)
  with pytest.raises(ConfigError, match="has the names of Hugging Face's transformers: --from huggingface"):
    import_run.read("torchvision", tmp_path / "model.safetensors", None)


def test_the_command_converts_a_folder(tmp_path):
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
