"""Recipes that experiments start from: the paper's settings as mutable `ConfigDict`s, and shorter versions of them."""

import dataclasses

import ml_collections

from resjax.config.root import Config

IMAGENET_STEPS, IMAGENET_INTERVAL = 600_000, 5_000  # 5,000 batches of 256 are an epoch


def default() -> ml_collections.ConfigDict:
  """Returns the paper's CIFAR-10 recipe for a residual network of 20 layers (Sec. 4.2)."""
  return ml_collections.ConfigDict(dataclasses.asdict(Config()))


def digits() -> ml_collections.ConfigDict:
  """Returns the paper's recipe for scikit-learn's digits of 8x8 pixels, with 300 steps: minutes on two cores."""
  c = default()
  c.data.name = "digits"
  c.data.pad = 1  # a shift of four pixels would push a digit of eight out of its image
  c.data.mirror = False  # a mirrored 2 is not a digit
  c.train.steps = 300
  c.train.batch_size = 64
  c.evaluation.every = 50
  c.evaluation.batch_size = 128
  c.responses.images = 256
  c.responses.batch_size = 128
  c.checkpoint.every = 100
  c.execution.log_every = 10
  return c


def imagenet(share: float = 1.0) -> ml_collections.ConfigDict:
  """Returns the paper's ImageNet recipe for a residual network of 18 layers (Sec. 3.4).

  Args:
    share: Fraction of the paper's 600,000 steps. The intervals between evaluations, after which the plateau schedule
      may lower the learning rate, are shortened by the same factor.
  """
  c = default()
  c.model.family, c.model.depth = "imagenet", 18
  c.data.name = "imagenet2012"
  c.train.schedule = "plateau"
  c.train.batch_size = 256
  c.train.steps = round(share * IMAGENET_STEPS)
  c.evaluation.every = c.checkpoint.every = round(share * IMAGENET_INTERVAL)
  return c


def small_images() -> ml_collections.ConfigDict:
  """Returns a recipe for ImageNet networks on a folder of images of 64 pixels, held in memory, with 2,000 steps.

  It is meant for some ten thousand images, such as 20 classes of Tiny ImageNet. The learning rate is a tenth of the
  paper's. With the full one after 100 steps at a tenth, the loss doubled within 20 steps.
  """
  c = imagenet()
  c.data.name = "folder"
  c.data.image_size = 64
  c.data.resize = ()
  c.data.pad = 8
  c.responses.images = 512
  c.train.schedule, c.train.learning_rate = "steps", 0.01
  c.train.steps = 2000
  c.train.batch_size = 128
  c.evaluation.every = c.checkpoint.every = 200
  c.execution.log_every = 20
  return c


def detection() -> ml_collections.ConfigDict:
  """Returns a recipe for detection on VOC (appendix A): Faster R-CNN on a residual network of 18 layers.

  The paper takes the hyperparameters of Ren et al. (2015), who train the two stages of the detector in alternation:
  60,000 steps at a learning rate of 0.001 and 20,000 at 0.0001, with a weight decay of 0.0005. Here both stages are
  trained together, for 50,000 and 20,000 steps with 8 images each and the weight decay of the backbone.
  """
  c = imagenet()
  c.data.name = "voc"
  c.data.pad = 0
  c.train.schedule, c.train.learning_rate, c.train.drops = "steps", 0.001, (5 / 7,)
  c.train.steps = 70_000
  c.train.batch_size = 8
  c.evaluation.every = c.checkpoint.every = 5_000
  c.evaluation.batch_size = 8
  c.responses.final = False
  c.responses.batch_size = c.responses.images = 8  # none are captured, but they must be divisible by the devices
  return c


def small_detection() -> ml_collections.ConfigDict:
  """Returns a detection recipe for a few hundred images of 256 pixels, which takes half an hour on two cores.

  Anchors that cross the border of the image are trained, because many objects in small images touch it. With a learning
  rate of 0.02, detectors on 18 layers trained, but one on a narrow ResNet-34 diverged within 10 steps.
  """
  c = detection()
  c.detection.shorter_side, c.detection.longer_side = 256, 384
  c.detection.anchor_scales = (16.0, 32.0, 64.0, 128.0)
  c.detection.crossing_anchors = True
  c.detection.train_candidates, c.detection.train_proposals = 1_000, 300
  c.detection.test_candidates, c.detection.test_proposals = 1_000, 100
  c.detection.regions = 64
  c.detection.pool_size = 7
  c.train.schedule, c.train.learning_rate, c.train.steps = "cosine", 0.01, 1_500
  c.train.batch_size = c.evaluation.batch_size = 4
  c.evaluation.every = c.checkpoint.every = 500
  c.responses.batch_size = c.responses.images = 4
  c.execution.log_every = 20
  return c


ALL = (default, digits, imagenet, small_images, detection, small_detection)
