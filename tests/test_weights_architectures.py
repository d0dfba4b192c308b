"""Networks other than ResNets are refused by name: all classifiers of torchvision, and those of other projects."""

import re

import numpy as np
import pytest

from resjax.settings import ConfigError
from resjax.weights import architectures, torchvision

torch = pytest.importorskip("torch")
torchvision_models = pytest.importorskip("torchvision.models")

# Name in the error message by the beginning of the name of torchvision's builder.
NAMES = {
  "alexnet": "AlexNet",
  "convnext": "ConvNeXt",
  "densenet": "DenseNet",
  "efficientnet": "EfficientNet",
  "googlenet": "GoogLeNet",
  "inception": "Inception v3",
  "maxvit": "MaxViT",
  "mnasnet": "MNASNet",
  "mobilenet": "MobileNet",
  "regnet": "RegNet",
  "resnext50_32x4d": r"ResNeXt \(3x3 layers in 32 groups of 4 channels\)",
  "resnext101_32x8d": r"ResNeXt \(3x3 layers in 32 groups of 8 channels\)",
  "resnext101_64x4d": r"ResNeXt \(3x3 layers in 64 groups of 4 channels\)",
  "shufflenet": "ShuffleNet",
  "squeezenet": "SqueezeNet",
  "swin": "Swin Transformer",
  "vgg": "VGG net",
  "vit": "vision transformer",
  "wide_resnet": r"wide ResNet \(2 times as wide",
}
LARGEST = re.compile("regnet_y_128gf|vit_[hl]_")  # smaller networks of the same kind have the same names


def names_and_shapes(net):
  """Returns a state dict of arrays that take no memory."""
  return {name: np.broadcast_to(np.float32(0), tuple(value.shape)) for name, value in net.state_dict().items()}


def builders():
  """Returns the names of torchvision's classifiers except the largest."""
  return [name for name in torchvision_models.list_models(torchvision_models) if not LARGEST.match(name)]


def build(name):
  """Returns a network of torchvision, without memory for its parameters if possible."""
  extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
  extra |= {"aux_logits": True} if extra else {}
  if not name.startswith("regnet"):
    with torch.device("meta"):
      return torchvision_models.get_model(name, weights=None, **extra)
  return torchvision_models.get_model(name, weights=None, **extra)


@pytest.mark.parametrize("name", builders())
def test_every_network_of_torchvision_is_accepted_or_refused_by_name(name):
  arrays = names_and_shapes(build(name))
  if re.fullmatch(r"resnet\d+", name):
    assert architectures.other_architecture(arrays) is None
    return
  (said,) = [words for beginning, words in NAMES.items() if name.startswith(beginning)]
  with pytest.raises(ConfigError, match=rf"^is an? {said}") as refusal:
    torchvision.read(arrays)
  assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 200


@pytest.mark.parametrize(
  ("names", "said"),
  [
    (["backbone.body.conv1.weight", "rpn.head.conv.0.0.weight"], "a detection or segmentation net"),
    (["conv1.weight", "layer1.0.se.fc1.weight", "fc.weight"], "an SE-ResNet"),
    (["conv1.0.weight", "layer1.0.conv1.weight", "fc.weight"], "a ResNet-C or -D"),
    (["conv1.weight", "block1.layer.0.bn1.weight", "fc.weight"], r"a wide ResNet \(for CIFAR\)"),
    (["stem.conv.weight", "stages.0.blocks.0.norm1.weight"], "a pre-activation ResNet"),
    (["conv_stem.weight", "blocks.1.0.conv_pw.weight"], "an EfficientNet or a MobileNet"),
  ],
)
def test_networks_of_other_projects_are_refused_by_name(names, said):
  """The parameter names are those of timm, of public code for CIFAR and of torchvision's detectors."""
  with pytest.raises(ConfigError, match=f"^is {said}"):
    torchvision.read({name: np.zeros((1,)) for name in names})
