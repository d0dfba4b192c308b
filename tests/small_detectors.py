"""Small detectors and networks for tests."""

from resjax.config import Detection, Model

SMALL = Detection(
  shorter_side=48,
  longer_side=64,
  anchor_scales=(16.0, 32.0),
  train_candidates=100,
  train_proposals=30,
  test_candidates=50,
  test_proposals=10,
  regions=16,
  pool_size=4,
  objects=4,
)
NET = Model(family="imagenet", depth=10, blocks=(1, 1, 1, 1), width=8, shortcut="B")
VGG = Model(family="vgg", kind="plain", block="single", depth=16, width=4, norm="none")
