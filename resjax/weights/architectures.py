"""Recognition of architectures other than the paper's ResNets by the names and shapes of a state dict."""

import re
from collections.abc import Mapping

import numpy as np

# Patterns that match the beginning of a name in torchvision or timm; the first one that matches applies.
PATTERNS = {
  "a detection or segmentation net": r"(rpn|roi_heads|backbone|aux_classifier)\.",
  "a DenseNet": r"features\.denseblock\d",
  "an Inception v3": r"Mixed_5b\.",
  "a GoogLeNet": r"inception3a\.",
  "a MaxViT": r"blocks\.\d+\.layers\.\d+\.layers\.MBconv\.",
  "a Swin Transformer": r".*\.relative_position_(index|bias_table)$|.*\.relative_coords_table$",
  "a vision transformer": r"(class_token|cls_token|vit\.embeddings\.)",
  "a ConvNeXt": r"features\.\d+\.\d+\.layer_scale|stages\.\d+\.blocks\.\d+\.conv_dw\.",
  "an EfficientNet": r"features\.\d+\.\d+\.block\.\d+\.0\.weight",
  "a MobileNet": r"features\.\d+\.(block|conv)\.\d+\.",
  "an EfficientNet or a MobileNet": r"blocks\.\d+\.\d+\.conv_(pw|dw)\.",
  "a MNASNet": r"layers\.\d+\.\d+\.layers\.",
  "a RegNet": r"(trunk_output\.|s1\.b1\.)",
  "a ShuffleNet": r"stage\d\.\d+\.branch2\.",
  "a SqueezeNet": r"features\.\d+\.squeeze\.",
  "a wide ResNet (for CIFAR)": r"block1\.layer\.0\.",
  "a pre-activation ResNet": r"stages\.\d+\.blocks\.\d+\.norm1\.",
  "an SE-ResNet (with squeeze and excitation)": r"layer\d\.\d+\.se(_module)?\.",
  "a ResNet-C or -D (its stem has three convolutions)": r"conv1\.0\.weight",
}
KERNELS = {11: "an AlexNet", 3: "a VGG net"}  # by the first layer's kernel, because they have the same names


def other_architecture(arrays: Mapping[str, np.ndarray]) -> str | None:
  """Returns the architecture of a state dict, or None for a ResNet or an unknown architecture."""
  for what, pattern in PATTERNS.items():
    if any(re.match(pattern, name) for name in arrays):
      return what
  first = arrays.get("features.0.weight")
  if first is not None and "classifier.6.weight" in arrays:
    return KERNELS.get(first.shape[-1])
  return _with_other_blocks(arrays)


def _with_other_blocks(arrays: Mapping[str, np.ndarray]) -> str | None:
  """Returns the architecture of a network with a ResNet's names but grouped or wider blocks, or None."""
  names = ("conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight")
  if any(arrays.get(name, np.empty(())).ndim != 4 for name in names):
    return None
  stem, reduce, middle = (arrays[name].shape for name in names)
  groups, left = divmod(reduce[0], middle[1])
  if groups > 1 and not left:
    return f"a ResNeXt (3x3 layers in {groups} groups of {middle[1]} channels)"
  wider, left = divmod(middle[0], stem[0])
  if wider > 1 and not left:
    return f"a wide ResNet ({wider} times as wide as a ResNet)"
  return None
