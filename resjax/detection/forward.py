"""Training loss and detections of a minibatch of images, as pure functions of a detector and its variables."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from resjax import config, mesh
from resjax.data.augment import Statistics, normalize
from resjax.detection import boxes, losses, nms
from resjax.detection.anchors import anchors
from resjax.detection.matching import GroundTruth
from resjax.detection.network import Detector, feature_stride
from resjax.detection.pooling import POOLING
from resjax.detection.proposals import ProposalLimits, propose

MIN_SIDE = 1e-2  # smallest side of a detection in pixels, as in torchvision; clipping can leave boxes without area


class Images(NamedTuple):
  """Resized images of one shape.

  Attributes:
    pixels: Images, uint8 [B, H, W, 3], padded below and on the right.
    sizes: Height and width of the images without the padding, int32 [B, 2].
  """

  pixels: jax.Array
  sizes: jax.Array


class Detections(NamedTuple):
  """Detections in a minibatch of images, a fixed number D per image.

  Attributes:
    boxes: Boxes in pixels of the resized image, float32 [B, D, 4].
    scores: Class probabilities in decreasing order, float32 [B, D].
    labels: Classes from 1 to the number of classes, int32 [B, D]; 0: no detection.
  """

  boxes: jax.Array
  scores: jax.Array
  labels: jax.Array


def training_loss(
  detector: Detector, variables: Any, statistics: Statistics, images: Images, truth: GroundTruth, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Computes the joint loss of region proposals and regions.

  Args:
    detector: Layers and settings of the detector.
    variables: Collections `params` and `batch_stats` of the detector.
    statistics: Mean and standard deviation with which pixels are normalized.
    images: Images of a minibatch.
    truth: Ground truth of the images, each leaf [B, M, ...].
    key: Random key of the samples of anchors and regions.

  Returns:
    Mean of the loss over the images, and fraction of the sampled regions whose most probable class is wrong.
  """
  settings = detector.detection
  features, grid, objectness, deltas = _first_stage(detector, variables, statistics, images)
  anchor_keys, region_keys = (jax.random.split(each, len(images.sizes)) for each in jax.random.split(key))
  of_proposals = jax.vmap(functools.partial(losses.proposal_loss, settings, grid))(
    anchor_keys, (objectness, deltas), truth, images.sizes
  )
  limits = ProposalLimits(settings.train_candidates, settings.train_proposals, settings.proposal_overlap)
  proposals, valid = jax.lax.stop_gradient(
    jax.vmap(functools.partial(propose, limits, grid))(objectness, deltas, images.sizes)
  )
  regions = jax.vmap(functools.partial(losses.sample_regions, settings))(region_keys, proposals, valid, truth)
  logits, region_deltas = _second_stage(detector, variables, features, regions.boxes, images.sizes)
  of_regions, wrong = jax.vmap(losses.region_loss)(logits, region_deltas, regions)
  return (of_proposals + of_regions).mean(), wrong.mean()


def detect(detector: Detector, variables: Any, statistics: Statistics, images: Images) -> Detections:
  """Returns the detections in images; arguments are as in `training_loss`."""
  settings = detector.detection
  features, grid, objectness, deltas = _first_stage(detector, variables, statistics, images)
  limits = ProposalLimits(settings.test_candidates, settings.test_proposals, settings.proposal_overlap)
  proposals, valid = jax.vmap(functools.partial(propose, limits, grid))(objectness, deltas, images.sizes)
  probabilities, found = _score(detector, variables, features, proposals, images.sizes)
  if settings.refine:
    # Box refinement (appendix; Gidaris and Komodakis 2015): the regressed boxes of the best class are scored again.
    best = probabilities[..., 1:].argmax(-1) + 1
    refined = jnp.take_along_axis(found, best[..., None, None], 2)[..., 0, :]
    again, found_again = _score(detector, variables, features, refined, images.sizes)
    probabilities, found = (jnp.concatenate(pair, 1) for pair in ((probabilities, again), (found, found_again)))
    valid = jnp.concatenate([valid, valid], 1)
  return jax.vmap(functools.partial(_select_detections, settings))(probabilities, found, valid)


def _first_stage(
  detector: Detector, variables: Any, statistics: Statistics, images: Images
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Returns the shared features, the anchors [N, 4], their objectness [B, N] and their regression outputs [B, N, 4]."""
  settings = detector.detection
  pixels = normalize(images.pixels, statistics)
  rows, columns = (jnp.arange(side) for side in pixels.shape[1:3])
  inside = (rows[:, None] < images.sizes[:, 0, None, None]) & (columns < images.sizes[:, 1, None, None])
  features = detector.apply(variables, jnp.where(inside[..., None], pixels, 0), method="shared_features")
  stride = feature_stride(detector.net)
  grid = jnp.asarray(anchors(features.shape[1:3], stride, settings.anchor_scales, settings.anchor_ratios))
  return features, grid, *detector.apply(variables, features, method="propose")


def _second_stage(
  detector: Detector, variables: Any, features: jax.Array, regions: jax.Array, sizes: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns class logits [B, R, classes + 1] and regression outputs [B, R, classes + 1, 4] of regions [B, R, 4]."""
  settings, stride = detector.detection, feature_stride(detector.net)
  images, count = regions.shape[:2]
  pool = functools.partial(POOLING[settings.pooling], stride=stride, size=settings.pool_size)
  pooled = jax.vmap(pool)(features, regions)
  context = None
  if settings.global_context:
    whole = jnp.concatenate([jnp.zeros((images, 2)), sizes[:, ::-1]], 1)[:, None]
    context = mesh.shard_batch(jax.vmap(pool)(features, whole)[:, 0])
  flat = mesh.shard_batch(pooled.reshape(-1, *pooled.shape[2:]))
  logits, deltas = detector.apply(variables, flat, context, method="classify")
  return logits.reshape(images, count, -1), deltas.reshape(images, count, -1, 4)


def _score(
  detector: Detector, variables: Any, features: jax.Array, regions: jax.Array, sizes: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns class probabilities [B, R, classes + 1] and clipped boxes of each class [B, R, classes + 1, 4]."""
  logits, deltas = _second_stage(detector, variables, features, regions, sizes)
  found = boxes.decode(deltas, regions[:, :, None], boxes.REGION_WEIGHTS)
  clipped = jax.vmap(lambda each, size: boxes.clip(each.reshape(-1, 4), size).reshape(each.shape))(found, sizes)
  return jax.nn.softmax(logits), clipped


def _select_detections(
  settings: config.Detection, probabilities: jax.Array, found: jax.Array, valid: jax.Array
) -> Detections:
  """Selects the detections of one image: non-maximum suppression per class, then the highest scores of all classes.

  Args:
    settings: Settings of the detector.
    probabilities: Class probabilities of the regions, [R, classes + 1].
    found: Boxes of the regions for each class, [R, classes + 1, 4].
    valid: Whether a region is valid, bool [R].
  """
  usable = valid[:, None] & (probabilities > settings.score_threshold)
  usable &= (found[..., 2:] - found[..., :2] >= MIN_SIDE).all(-1)
  scores = jnp.where(usable, probabilities, -jnp.inf)
  count = min(settings.detections, len(scores))

  def of_class(scores: jax.Array, found: jax.Array) -> tuple[jax.Array, jax.Array]:
    kept, there = nms.suppress(found, scores, settings.overlap, count)
    chosen = _vote(found, scores, found[kept]) if settings.box_voting else found[kept]
    return jnp.where(there, scores[kept], -jnp.inf), chosen

  scores_CxD, boxes_CxDx4 = jax.vmap(of_class, (1, 1))(scores[:, 1:], found[:, 1:])
  best, places = jax.lax.top_k(scores_CxD.ravel(), min(settings.detections, scores_CxD.size))
  there = best > -jnp.inf
  labels = jnp.where(there, places // count + 1, 0)
  chosen = jnp.where(there[:, None], boxes_CxDx4.reshape(-1, 4)[places], 0)
  return Detections(chosen, jnp.where(there, best, 0), labels.astype(jnp.int32))


def _vote(found: jax.Array, scores: jax.Array, kept: jax.Array) -> jax.Array:
  """Returns each kept box as the mean of the boxes that have an IoU of at least 0.5 with it, weighted by their scores.

  Args:
    found: Boxes of one class, [R, 4].
    scores: Scores of the boxes, [R].
    kept: Boxes that were not suppressed, [D, 4].
  """
  weights = jnp.where((boxes.iou(kept, found) >= 0.5) & jnp.isfinite(scores), jnp.maximum(scores, 0), 0)
  total = weights.sum(1, keepdims=True)
  # Accelerators round the factors of a product to fewer bits by default: coordinates would be off by pixels.
  means = jnp.matmul(weights, found, precision="highest") / jnp.where(total > 0, total, 1)
  return jnp.where(total > 0, means, kept)


def anchor_count(net: config.Model, settings: config.Detection, shape: tuple[int, int]) -> int:
  """Returns the number of anchors of an image.

  Args:
    net: Settings of the network.
    settings: Settings of the detector.
    shape: Height and width of the image.
  """
  stride = feature_stride(net)
  sides = [-(-side // stride) for side in shape]
  return int(np.prod(sides)) * len(settings.anchor_scales) * len(settings.anchor_ratios)
