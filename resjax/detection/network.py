"""Layers of a detector on a classification network: shared layers, region proposals, and the head of each region.

The form of the paper's appendix ("C4"): all stages but the last are computed once per image. The features of each
region are pooled before the last stage, which ends in average pooling, a classification layer and a box layer. A VGG
network shares all convolutions, and its two hidden dense layers take the place of the last stage. Batch norm is frozen:
it uses the running statistics of the classification network, also in training.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from resjax import config
from resjax.depth import VGG_DENSE
from resjax.depth.detector import PROPOSAL_CHANNELS
from resjax.detection.proposals import ProposalHead
from resjax.models import stochastic_depth
from resjax.models.activations import activation
from resjax.models.block_scan import ScanOptions
from resjax.models.conv import HE_NORMAL
from resjax.models.pool import max_pool
from resjax.models.precision import at_least_float32
from resjax.models.resnet import Stage, Stem

CLASS_KERNEL_INIT, BOX_KERNEL_INIT = nn.initializers.normal(0.01), nn.initializers.normal(0.001)


def feature_stride(net: config.Model) -> int:
  """Returns the stride of the shared features: image pixels per position."""
  if net.family == "vgg":
    return 2 ** (len(net.structure.stages) - 1)
  stem = {"7x7": 4, "3x3": 1}[net.structure.first_layers]
  return stem * math.prod(stage.stride for stage in net.structure.stages[:-1])


class Detector(nn.Module):
  """Layers of a detector; the functions of `forward` combine them.

  Parameters have the same names as in the classification network.

  Attributes:
    net: Settings of the network.
    detection: Settings of the detector.
    classes: Number of classes without the background.
    scan: Options of the loop over the stacked blocks of a stage.
  """

  net: config.Model
  detection: config.Detection
  classes: int
  scan: ScanOptions

  def setup(self) -> None:
    """Defines the submodules."""
    stages = self.net.structure.stages
    self._vgg = self.net.family == "vgg"
    if not self._vgg:
      self.stem = Stem(stages[0].filters, self.net)
    for i, stage in enumerate(stages, 1):
      setattr(self, f"stage{i}", Stage(stage, self.net, self.scan))
    channels = self.net.structure.layers(stages[-1 if self._vgg else -2].filters)[-1][1]
    anchors = len(self.detection.anchor_scales) * len(self.detection.anchor_ratios)
    self.proposals = ProposalHead(min(PROPOSAL_CHANNELS, channels), anchors)
    self.head = RegionHead(self.classes, self.net)

  def __call__(self, images_BxHxWx3: jax.Array) -> tuple[jax.Array, ...]:
    """Calls every submodule once, for initialization."""
    features = self.shared_features(images_BxHxWx3)
    size = self.detection.pool_size
    pooled = jnp.zeros((1, size, size, features.shape[-1]), features.dtype)
    context = pooled if self.detection.global_context else None  # of one image with one region
    return *self.propose(features), *self.classify(pooled, context)

  def shared_features(self, images_BxHxWx3: jax.Array) -> jax.Array:
    """Returns the features [B, H / stride, W / stride, C] of normalized images."""
    x = images_BxHxWx3.astype(self.net.precision)
    count = len(self.net.structure.stages)
    if not self._vgg:
      x = self.stem(x, False)
    for i in range(1, count + self._vgg):
      x = self._stage(i, x)
      if self._vgg and i < count:
        x = max_pool(x, 2, ((0, x.shape[1] % 2), (0, x.shape[2] % 2)))
    return x

  def propose(self, features_BxHxWxC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns objectness logits [B, N] and regression outputs [B, N, 4] of all anchors."""
    return self.proposals(features_BxHxWxC)

  def classify(self, pooled_NxPxPxC: jax.Array, context_BxPxPxC: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns class logits [N, classes + 1] and regression outputs [N, classes + 1, 4] of regions, both float32.

    Args:
      pooled_NxPxPxC: Pooled features of the regions, N / B of each image in the order of the images.
      context_BxPxPxC: Pooled features of the whole images (appendix, "global context"), or None.
    """
    regions = self._last_stage(pooled_NxPxPxC)
    return self.head(regions, None if context_BxPxPxC is None else self._last_stage(context_BxPxPxC))

  def _last_stage(self, pooled: jax.Array) -> jax.Array:
    """Returns the features of pooled regions after the last stage, [N, C]."""
    if self._vgg:
      return at_least_float32(pooled).reshape(len(pooled), -1)
    return at_least_float32(self._stage(len(self.net.structure.stages), pooled)).mean((1, 2))

  def _stage(self, number: int, x: jax.Array) -> jax.Array:
    """Applies a stage in test mode: running statistics, and branches scaled by their survival probabilities."""
    return getattr(self, f"stage{number}")(x, False, stochastic_depth.survival_by_stage(self.net, None)[number - 1])


class RegionHead(nn.Module):
  """Classification and box layers of the regions, after the two hidden dense layers of a VGG network.

  Attributes:
    classes: Number of classes without the background.
    net: Settings of the network.
  """

  classes: int
  net: config.Model

  @nn.compact
  def __call__(self, regions_NxC: jax.Array, context_BxC: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns class logits [N, classes + 1] and regression outputs [N, classes + 1, 4].

    Args:
      regions_NxC: Features of the regions, N / B of each image in the order of the images.
      context_BxC: Features of the whole images, which are appended to those of their regions, or None.
    """
    names = ("dense1", "dense2") if self.net.family == "vgg" else ()
    layers = [nn.Dense(VGG_DENSE, kernel_init=HE_NORMAL, name=name) for name in names]

    def run(x: jax.Array) -> jax.Array:
      for layer in layers:
        x = activation(self.net)(layer(x))
      return x

    x = run(regions_NxC)
    if context_BxC is not None:
      x = jnp.concatenate([x, jnp.repeat(run(context_BxC), len(x) // len(context_BxC), axis=0)], -1)
    logits = nn.Dense(self.classes + 1, kernel_init=CLASS_KERNEL_INIT, name="classes")(x)
    deltas = nn.Dense(4 * (self.classes + 1), kernel_init=BOX_KERNEL_INIT, name="boxes")(x)
    return logits, deltas.reshape(len(x), self.classes + 1, 4)
