"""Forward programs of detectors: layers, losses of anchors, choice of detections, devices and evaluation options."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from resjax import mesh
from resjax.config import Detection, Model
from resjax.data.augment import Statistics
from resjax.detection import forward, losses
from resjax.detection.anchors import anchors
from resjax.detection.matching import GroundTruth
from resjax.detection.network import Detector, RegionHead
from resjax.models import ScanOptions
from tests import synthetic_detection
from tests.small_detectors import NET, SMALL, VGG

STATISTICS = Statistics(np.full(3, 0.4, np.float32), np.full(3, 0.25, np.float32))


def batch(detection: Detection, images: int = 8):
  """Returns a batch of images with two objects each, and its ground truth."""
  rng = np.random.default_rng(0)
  pixels, sizes, boxes, labels = [], [], [], []
  for _ in range(images):
    image, objects = synthetic_detection.draw(rng, 48, 64, 2)
    pixels.append(image)
    sizes.append((48, 64))
    boxes.append([row[1:] for row in objects] + [(0, 0, 0, 0)] * (detection.objects - 2))
    labels.append([1 + (row[0] == "blue") for row in objects] + [0] * (detection.objects - 2))
  truth = GroundTruth(
    np.array(boxes, np.float32), np.array(labels, np.int32), np.zeros((images, detection.objects), bool)
  )
  return forward.Images(np.stack(pixels), np.array(sizes, np.int32)), truth


def detector(model: Model = NET, **changes):
  """Returns a detector and its initial variables."""
  detection = dataclasses.replace(SMALL, **changes)
  built = Detector(model, detection, 2, ScanOptions())
  variables = jax.jit(built.init)(jax.random.key(1), jnp.zeros((1, 48, 64, 3)))
  return built, variables


def test_gradients_on_eight_devices_are_those_on_one():
  made, variables = detector()
  images, truth = batch(SMALL)
  gradients = {}
  for count in (1, 8):
    devices = mesh.from_devices(jax.devices()[:count], 1)
    with jax.set_mesh(devices):
      everywhere = mesh.replicated(devices)
      by_batch = jax.sharding.NamedSharding(devices, mesh.batch_spec())

      def loss(params, images, truth):
        weights = {**variables, "params": params}
        return forward.training_loss(made, weights, STATISTICS, images, truth, jax.random.key(3))[0]

      params = jax.device_put(variables["params"], everywhere)
      found = jax.jit(jax.grad(loss))(params, *jax.device_put((images, truth), by_batch))
      gradients[count] = jax.device_get(found)
  scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients[1]))
  for one, other in zip(*map(jax.tree.leaves, (gradients[1], gradients[8])), strict=True):
    np.testing.assert_allclose(one, other, atol=1e-5 * scale)


FAMILIES = {
  "basic": NET,
  "bottleneck": dataclasses.replace(NET, kind="plain", block="bottleneck", depth=14),
  "cifar": Model(family="cifar", depth=14, width=8),
  "vgg": VGG,
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("context", [False, True])
def test_the_layer_table_has_the_parameters_of_every_family(name, context):
  detection = dataclasses.replace(SMALL, global_context=context, pool_size=1 if name == "vgg" else 4)
  made = Detector(FAMILIES[name], detection, 2, ScanOptions())
  variables = jax.eval_shape(made.init, jax.random.key(0), jnp.zeros((1, 48, 64, 3)))
  assert detection.net(made.net, 2).params == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("name", ["bottleneck", "vgg"])
def test_all_evaluation_options_work_on_padded_images(name):
  changes = {"global_context": True, "refine": True, "box_voting": True, "pooling": "max", "score_threshold": 0.0}
  made, variables = detector(FAMILIES[name], **changes, pool_size=1 if name == "vgg" else 4)
  images, _ = batch(SMALL, 2)
  padded = forward.Images(np.pad(images.pixels, ((0, 0), (0, 16), (0, 32), (0, 0))), images.sizes)
  found = jax.jit(forward.detect, static_argnums=0)(made, variables, STATISTICS, padded)
  assert found.boxes.shape == (2, 2 * 2 * 10, 4)  # two classes of ten proposals, each scored twice
  assert (np.asarray(found.labels) > 0).any()
  assert (np.diff(found.scores) <= 0).all()
  boxes = np.asarray(found.boxes)[np.asarray(found.labels) > 0]
  # No box extends into the padding, except by rounding in the means of box voting.
  assert (boxes >= 0).all() and (boxes[:, 2] <= 64 + 1e-4).all() and (boxes[:, 3] <= 48 + 1e-4).all()


def overlaps(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Returns the IoU of each box with another, in float64."""
  sides = np.minimum(boxes[:, 2:], other[2:]) - np.maximum(boxes[:, :2], other[:2])
  shared = np.prod(np.maximum(sides, 0), 1)
  return shared / (np.prod(boxes[:, 2:] - boxes[:, :2], 1) + np.prod(other[2:] - other[:2]) - shared)


@pytest.mark.parametrize("crossing", [False, True])
def test_the_best_trained_anchor_of_an_object_is_positive(crossing):
  """A large object, whose best anchors of all cross the border of the image."""
  size, target = np.array([600, 800]), np.array([300, 20, 560, 590], np.float32)
  grid = anchors((38, 50), 16, Detection().anchor_scales, Detection().anchor_ratios)
  inside = (grid[:, :2] >= 0).all(1) & (grid[:, 2] <= 800) & (grid[:, 3] <= 600)
  shared = overlaps(grid, target)
  assert shared.max() > shared[inside].max() and shared[inside].max() < 0.7
  trained = np.ones(len(grid), bool) if crossing else inside
  expected = trained & (shared > min(shared[trained].max(), 0.7) - 1e-6)
  truth = GroundTruth(np.array([target, np.zeros(4)], np.float32), np.array([1, 0]), np.zeros(2, bool))
  settings = Detection(crossing_anchors=crossing, anchors=len(grid))

  def loss(deltas):
    return losses.proposal_loss(settings, grid, jax.random.key(0), (jnp.zeros(len(grid)), deltas), truth, size)

  slopes = np.asarray(jax.grad(loss)(jnp.full((len(grid), 4), 9.0)))
  np.testing.assert_array_equal((slopes != 0).all(1), expected)  # only positive anchors have regression targets


def selected(settings: Detection, scores: list[float], found: list[list[float]]) -> np.ndarray:
  """Returns the boxes of the detections among boxes of one class with the given scores."""
  probabilities = np.stack([1 - np.array(scores), scores], 1).astype(np.float32)
  each = np.repeat(np.array(found, np.float32)[:, None], 2, 1)
  result = forward._select_detections(settings, probabilities, each, np.ones(len(scores), bool))
  return np.asarray(result.boxes)[np.asarray(result.labels) > 0]


def test_detections_without_area_are_dropped():
  found = [[0, 0, 0, 50], [10, 10, 30, 30], [40, 60, 90, 60.005], [50, 20, 50.02, 40]]
  np.testing.assert_array_equal(selected(Detection(), [0.9, 0.8, 0.7, 0.6], found), np.array(found, np.float32)[[1, 3]])


def test_box_voting_is_the_weighted_mean_in_full_precision():
  """The default precision of accelerators, which a CPU does not have, would round coordinates by up to two pixels."""
  found = np.array([[501, 333, 777, 999], [507, 331, 779, 995], [10, 10, 20, 20]], np.float32)
  scores = np.array([0.9, 0.6, 0.3], np.float32)
  boxes = selected(Detection(box_voting=True), scores.tolist(), found.tolist())
  expected = [np.average(found[:2], axis=0, weights=scores[:2]), found[2]]
  np.testing.assert_allclose(boxes, expected, rtol=1e-6)  # rounding of float32
  program = jax.jit(forward._vote).lower(found, scores, found).as_text().splitlines()
  products = [line for line in program if "dot_general" in line]
  assert products and all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_global_context_is_a_further_input_of_both_output_layers_once_per_image():
  made = Detector(NET, dataclasses.replace(SMALL, global_context=True), 2, ScanOptions())
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(made.init, jax.random.key(0), jnp.zeros((1, 48, 64, 3)))
  variables = jax.tree.map(lambda leaf: rng.uniform(0, 0.1, leaf.shape).astype(np.float32), shapes)
  regions, images = (rng.normal(size=(count, 4, 4, 32)).astype(np.float32) for count in (6, 2))
  logits, deltas = made.apply(variables, regions, images, method="classify")
  own, context = (made.apply(variables, each, method="_last_stage") for each in (regions, images))
  both = np.concatenate([own, np.repeat(context, 3, 0)], 1)
  head = jax.tree.map(np.asarray, variables["params"]["head"])
  for name, found in (("classes", logits), ("boxes", deltas.reshape(6, -1))):
    expected = both @ head[name]["kernel"] + head[name]["bias"]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())

  counts = []

  def record(call, arguments, keywords, context):
    if context.module.name == "stage4" and context.method_name == "__call__":
      counts.append(len(arguments[0]))
    return call(*arguments, **keywords)

  pixels, _ = batch(SMALL, 2)
  with nn.intercept_methods(record):
    jax.eval_shape(lambda: forward.detect(made, variables, STATISTICS, pixels))
  assert counts == [2 * SMALL.test_proposals, 2]


def test_the_layer_table_counts_the_context_as_one_region():
  tables = [dataclasses.replace(SMALL, global_context=context).net(NET, 2) for context in (False, True)]
  per_region = sum(layer.macs for layer in tables[0].table if layer.stage == 4) / SMALL.test_proposals
  heads = SMALL.test_proposals * 64 * 5 * 3  # 64 more inputs of 3 classes and 3 boxes
  assert tables[1].macs - tables[0].macs == per_region + heads


def test_dense_layers_have_the_activation_of_the_network():
  head = RegionHead(2, dataclasses.replace(VGG, activation="tanh"))
  x = jax.random.normal(jax.random.key(0), (3, 8))
  variables = head.init(jax.random.key(1), x, None)
  params = jax.tree.map(np.asarray, variables["params"])
  expected = np.asarray(x)
  for layer in ("dense1", "dense2"):
    expected = np.tanh(expected @ params[layer]["kernel"] + params[layer]["bias"])
  expected = expected @ params["classes"]["kernel"] + params["classes"]["bias"]
  np.testing.assert_allclose(head.apply(variables, x, None)[0], expected, atol=1e-4 * np.abs(expected).max())
