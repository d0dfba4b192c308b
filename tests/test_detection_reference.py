"""Anchors, boxes, matching, losses, non-maximum suppression and region pooling against torchvision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax.config import Detection, Model
from resjax.data.augment import Statistics
from resjax.detection import backbone, boxes, forward, losses, matching, nms, pooling
from resjax.detection.anchors import anchors
from resjax.detection.network import Detector
from resjax.models import ScanOptions
from tests import random_networks

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("torchvision", reason="the extra torch is not installed")
from torchvision import ops  # noqa: E402
from torchvision.models.detection import _utils, rpn  # noqa: E402
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402

TOLERANCE = 2e-5  # relative, for float32 values of up to a few hundred pixels


def random_boxes(rng: np.random.Generator, count: int, side: float = 200.0) -> np.ndarray:
  low = rng.uniform(0, side * 0.8, (count, 2))
  return np.concatenate([low, low + rng.uniform(1, side / 2, (count, 2))], 1).astype(np.float32)


def test_anchors():
  scales, ratios, sides, stride = (32.0, 64.0, 100.0), (0.5, 1.0, 2.0), (5, 7), 16
  generator = AnchorGenerator((scales,), (ratios,))
  images = ImageList(torch.zeros(1, 3, sides[0] * stride, sides[1] * stride), [(80, 112)])
  (expected,) = generator(images, [torch.zeros(1, 8, *sides)])
  np.testing.assert_array_equal(anchors(sides, stride, scales, ratios), expected.numpy())


@pytest.mark.parametrize("weights", [boxes.PROPOSAL_WEIGHTS, boxes.REGION_WEIGHTS])
def test_coding_of_boxes_both_ways(weights):
  rng = np.random.default_rng(0)
  truth, references = random_boxes(rng, 50), random_boxes(rng, 50)
  coder = _utils.BoxCoder(weights)
  encoded = coder.encode_single(torch.tensor(truth), torch.tensor(references)).numpy()
  np.testing.assert_allclose(boxes.encode(truth, references, weights), encoded, rtol=TOLERANCE, atol=TOLERANCE)
  deltas = rng.normal(0, 3, (50, 4)).astype(np.float32)  # some grow beyond the limit
  deltas[0, 2:] = 100.0
  decoded = coder.decode_single(torch.tensor(deltas), torch.tensor(references)).numpy()
  np.testing.assert_allclose(boxes.decode(deltas, references, weights), decoded, rtol=TOLERANCE, atol=2e-3)
  again = boxes.decode(boxes.encode(truth, references, weights), references, weights)
  np.testing.assert_allclose(again, truth, rtol=1e-4, atol=1e-3)


def test_overlaps():
  rng = np.random.default_rng(1)
  one, other = random_boxes(rng, 40), random_boxes(rng, 30)
  expected = ops.box_iou(torch.tensor(one), torch.tensor(other)).numpy()
  np.testing.assert_allclose(boxes.iou(one, other), expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_matching_with_padding_and_ties(seed):
  rng = np.random.default_rng(seed)
  candidates, truth = random_boxes(rng, 300), random_boxes(rng, 8)
  candidates[:3] = truth[0] + np.float32([3, 0, 3, 0])  # three candidates tie for the first object
  padded = np.concatenate([truth, np.zeros((4, 4), np.float32)])
  labels = np.array([1] * 8 + [0] * 4)
  found = matching.match(candidates, matching.GroundTruth(padded, labels, np.zeros(12, bool)), np.ones(300, bool))
  matcher = _utils.Matcher(0.7, 0.3, allow_low_quality_matches=True)
  expected = matcher(ops.box_iou(torch.tensor(truth), torch.tensor(candidates))).numpy()
  positive = np.asarray((found.iou >= 0.7) | found.best)
  negative = np.asarray(found.iou < 0.3) & ~positive
  np.testing.assert_array_equal(positive, expected >= 0)
  np.testing.assert_array_equal(negative, expected == matcher.BELOW_LOW_THRESHOLD)
  np.testing.assert_array_equal(np.asarray(found.indices)[positive], expected[positive])


@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_non_maximum_suppression_with_ties_is_that_of_torchvision(overlap):
  rng = np.random.default_rng(2)
  candidates = random_boxes(rng, 200)
  scores = np.round(rng.uniform(0, 1, 200), 1).astype(np.float32)  # many equal scores
  expected = ops.nms(torch.tensor(candidates), torch.tensor(scores), overlap).numpy()
  kept, valid = nms.suppress(jnp.asarray(candidates), jnp.asarray(scores), overlap, 200)
  np.testing.assert_array_equal(np.asarray(kept)[np.asarray(valid)], expected)
  fewer, _ = nms.suppress(jnp.asarray(candidates), jnp.asarray(scores), overlap, 5)
  np.testing.assert_array_equal(fewer, expected[:5])


@pytest.mark.parametrize("size", [3, 7])
def test_roi_align_and_its_gradient_are_those_of_torchvision(size):
  rng = np.random.default_rng(3)
  features = rng.normal(size=(12, 15, 6)).astype(np.float32)
  regions = random_boxes(rng, 20, 250.0)  # some extend beyond the feature map
  regions[0] = (-30, -40, 5, 8)
  weights = rng.normal(size=(20, size, size, 6)).astype(np.float32)
  image = torch.tensor(features.transpose(2, 0, 1)[None], requires_grad=True)
  expected = ops.roi_align(image, [torch.tensor(regions)], size, 1 / 16, sampling_ratio=pooling.SAMPLES)
  (expected * torch.tensor(weights.transpose(0, 3, 1, 2))).sum().backward()
  pooled, transpose = jax.vjp(lambda x: pooling.roi_align(x, jnp.asarray(regions), 16, size), jnp.asarray(features))
  np.testing.assert_allclose(pooled, expected.detach().numpy().transpose(0, 2, 3, 1), atol=2e-5)
  np.testing.assert_allclose(transpose(jnp.asarray(weights))[0], image.grad[0].numpy().transpose(1, 2, 0), atol=2e-4)


def test_roi_max_pooling_is_that_of_torchvision():
  rng = np.random.default_rng(4)
  features = rng.normal(size=(12, 15, 6)).astype(np.float32)
  regions = random_boxes(rng, 20, 250.0)
  image = torch.tensor(features.transpose(2, 0, 1)[None])
  expected = ops.roi_pool(image, [torch.tensor(regions)], 5, 1 / 16).numpy().transpose(0, 2, 3, 1)
  np.testing.assert_array_equal(pooling.roi_max_pool(jnp.asarray(features), jnp.asarray(regions), 16, 5), expected)


def test_the_loss_of_anchors_is_that_of_torchvision():
  rng = np.random.default_rng(5)
  objectness = rng.normal(size=40).astype(np.float32)
  deltas, targets = rng.normal(size=(2, 40, 4)).astype(np.float32)
  positive = np.arange(40) < 15
  classes = torch.nn.functional.binary_cross_entropy_with_logits(
    torch.tensor(objectness), torch.tensor(positive, dtype=torch.float32)
  )
  distances = torch.nn.functional.smooth_l1_loss(
    torch.tensor(deltas[positive]), torch.tensor(targets[positive]), beta=1 / 9, reduction="sum"
  )
  found = losses.sampled_proposal_loss(objectness, deltas, targets, positive, np.ones(40, bool))
  np.testing.assert_allclose(found, (classes + distances / 40).item(), rtol=1e-5)


def test_the_loss_of_regions_is_that_of_torchvision():
  rng = np.random.default_rng(6)
  logits = rng.normal(size=(30, 4)).astype(np.float32)
  deltas, targets = rng.normal(size=(30, 4, 4)).astype(np.float32), rng.normal(size=(30, 4)).astype(np.float32)
  labels = rng.integers(0, 4, 30)
  from torchvision.models.detection.roi_heads import fastrcnn_loss

  classes, distances = fastrcnn_loss(
    torch.tensor(logits), torch.tensor(deltas.reshape(30, 16)), [torch.tensor(labels)], [torch.tensor(targets)]
  )
  regions = losses.Regions(jnp.zeros((30, 4)), jnp.asarray(labels), jnp.asarray(targets), jnp.ones(30, bool))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(losses, "REGION_BETA", 1 / 9)  # the value of torchvision; that of the paper is 1
    found, wrong = losses.region_loss(logits, deltas, regions)
  np.testing.assert_allclose(found, (classes + distances).item(), rtol=1e-5)
  np.testing.assert_allclose(wrong, (logits.argmax(1) != labels).mean(), rtol=1e-6)


def torchvision_detector(run, variables, settings, classes):
  """Returns the backbone, proposal network and region heads of a C4 detector of torchvision with the given weights."""
  from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
  from torchvision.models.detection.roi_heads import RoIHeads
  from torchvision.models.resnet import BasicBlock, ResNet
  from torchvision.ops import MultiScaleRoIAlign

  from resjax.weights import export_torch

  body = ResNet(BasicBlock, list(run.config.model.blocks), num_classes=run.classes)
  body.load_state_dict({name: torch.tensor(np.array(a)) for name, a in export_torch.state_dict(run).items()})
  shared = torch.nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool, body.layer1, body.layer2, body.layer3)
  last = torch.nn.Sequential(body.layer4, body.avgpool, torch.nn.Flatten())
  params = jax.tree.map(np.asarray, variables["params"])

  def kernel(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array.transpose(3, 2, 0, 1))

  count = len(settings.anchor_scales) * len(settings.anchor_ratios)
  head = rpn.RPNHead(256, count)
  ours = params["proposals"]
  layers = (head.conv[0][0], "conv", "bias"), (head.cls_logits, "objectness", "objectness_bias")
  for layer, name, bias in (*layers, (head.bbox_pred, "boxes", "boxes_bias")):
    layer.weight.data, layer.bias.data = kernel(ours[name]["kernel"]), torch.tensor(ours[bias]["bias"])
  generator = AnchorGenerator((settings.anchor_scales,), (settings.anchor_ratios,))
  limits = [{"training": n, "testing": n} for n in (settings.test_candidates, settings.test_proposals)]
  proposals = rpn.RegionProposalNetwork(
    generator, head, 0.7, 0.3, 256, 0.5, *limits, nms_thresh=settings.proposal_overlap
  )
  predictor = FastRCNNPredictor(512, classes + 1)
  for layer, name in ((predictor.cls_score, "classes"), (predictor.bbox_pred, "boxes")):
    layer.weight.data = torch.tensor(params["head"][name]["kernel"].T)
    layer.bias.data = torch.tensor(params["head"][name]["bias"])
  pool = MultiScaleRoIAlign(["0"], settings.pool_size, pooling.SAMPLES)
  limits = settings.score_threshold, settings.overlap, settings.detections
  regions = RoIHeads(pool, last, predictor, 0.5, 0.5, 64, 0.25, None, *limits)
  return [part.eval() for part in (shared, proposals, regions)]


def test_detections_of_a_whole_detector_are_those_of_torchvision():
  classes = 3
  model = Model(family="imagenet", depth=10, blocks=(1, 1, 1, 1), shortcut="B")
  settings = Detection(
    anchor_scales=(16.0, 32.0, 64.0), test_candidates=200, test_proposals=20, pool_size=7, score_threshold=0.2
  )
  run = random_networks.restored_run(model, 32, classes, channels=3)
  detector = Detector(model, settings, classes, ScanOptions())
  rng = np.random.default_rng(7)
  pixels = rng.integers(0, 256, (2, 96, 128, 3), dtype=np.uint8)
  fresh = detector.init(jax.random.key(0), jnp.zeros((1, 96, 128, 3)))
  variables = backbone.replace_matching(
    fresh, backbone.Backbone(run.directory, run.variables, run.input.statistics), settings
  )
  deviations = {"proposals": 0.05, "head": 0.02}  # the initial weights are so small that all scores are nearly equal
  params = {
    name: jax.tree.map(lambda p, n=name: jnp.asarray(rng.normal(0, deviations[n], p.shape), jnp.float32), part)
    if name in deviations
    else part
    for name, part in variables["params"].items()
  }
  variables = {**variables, "params": params}
  statistics = Statistics(np.full(3, 0.45, np.float32), np.full(3, 0.25, np.float32))
  sizes = np.array([[96, 128]] * 2, np.int32)
  found = jax.jit(forward.detect, static_argnums=0)(detector, variables, statistics, forward.Images(pixels, sizes))

  shared, proposals, regions = torchvision_detector(run, variables, settings, classes)
  images = (torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2) / 255 - 0.45) / 0.25
  with torch.no_grad():
    features = {"0": shared(images)}
    boxes_of, _ = proposals(ImageList(images, [(96, 128)] * 2), features)
    expected, _ = regions(features, boxes_of, [(96, 128)] * 2)
  for i, each in enumerate(expected):
    count = len(each["scores"])
    assert count >= 10
    assert np.count_nonzero(found.labels[i]) == count
    np.testing.assert_array_equal(found.labels[i][:count], each["labels"].numpy())
    np.testing.assert_allclose(found.scores[i][:count], each["scores"].numpy(), atol=1e-4)
    np.testing.assert_allclose(found.boxes[i][:count], each["boxes"].numpy(), atol=0.02)  # pixels
