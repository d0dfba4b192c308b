"""Statistics, crops and flips against plain NumPy, and the distribution of random numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax.config import Data
from resjax.data.augment import augment, draw, normalize, statistics
from resjax.settings import ConfigError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 6, 5, 3), np.uint8)


def reference(images, draws, pad):
  """Augments one image at a time: pads it with zeros, takes a crop of its size, and reverses the columns."""
  result = np.empty_like(images)
  height, width = images.shape[1:3]
  for i, image in enumerate(images):
    padded = np.zeros((height + 2 * pad, width + 2 * pad, image.shape[-1]), images.dtype)
    padded[pad : pad + height, pad : pad + width] = image
    row, column = int(draws.rows[i]), int(draws.columns[i])
    window = padded[row : row + height, column : column + width]
    result[i] = window[:, ::-1] if draws.mirrored[i] else window
  return result


@pytest.mark.parametrize("shape", [(64, 8, 8, 1), (33, 6, 5, 3)])
@pytest.mark.parametrize(("pad", "mirror"), [(4, True), (1, False), (0, True), (3, True)])
def test_crops_and_flips_are_those_of_the_reference(shape, pad, mirror):
  images = RNG.normal(size=shape).astype(np.float32)
  key = jax.random.key(5)
  draws = draw(key, len(images), pad, mirror)
  result = jax.jit(augment, static_argnames=("pad", "mirror"))(key, images, pad=pad, mirror=mirror)
  assert result.dtype == np.float32
  np.testing.assert_array_equal(result, reference(images, draws, pad))


def test_without_padding_and_flips_images_are_returned_unchanged():
  images = jnp.zeros((4, 8, 8, 3))
  assert augment(jax.random.key(0), images, 0, False) is images


def test_the_result_is_a_function_of_the_key():
  images = RNG.normal(size=(64, 8, 8, 3)).astype(np.float32)
  one, again, other = (augment(jax.random.key(seed), images, 4, True) for seed in (0, 0, 1))
  np.testing.assert_array_equal(one, again)
  assert not np.array_equal(one, other)


def test_vmap_over_keys_is_a_loop_over_keys():
  images = RNG.normal(size=(16, 8, 8, 3)).astype(np.float32)
  keys = jax.random.split(jax.random.key(0), 3)
  batched = jax.vmap(lambda key: augment(key, images, 4, True))(keys)
  for key, result in zip(keys, batched, strict=True):
    np.testing.assert_array_equal(result, augment(key, images, 4, True))


def test_crops_and_flips_are_uniformly_distributed():
  # Each of the 162 outcomes (9 rows, 9 columns, mirrored or not) is expected 400 times with a standard deviation of 20.
  # The largest of 162 normal deviations exceeds 5 standard deviations for one in 10,000 keys, and this key is fixed.
  # Chi-square is 161 +- 18.
  count = 162 * 400
  draws = draw(jax.random.key(0), count, 4, True)
  outcome = (np.asarray(draws.rows) * 9 + np.asarray(draws.columns)) * 2 + np.asarray(draws.mirrored)
  counts = np.bincount(outcome, minlength=162)
  assert len(counts) == 162
  assert np.abs(counts - 400).max() < 5 * 20
  assert np.sum((counts - 400) ** 2 / 400) < 250


def test_crops_of_neighboring_images_are_independent():
  # The standard error of a correlation of 60,000 pairs is 0.0041.
  draws = draw(jax.random.key(1), 60_001, 4, True)
  columns = [np.asarray(x, float) for x in (draws.rows, draws.columns, draws.mirrored)]
  pairs = np.corrcoef(np.array([part for x in columns for part in (x[1:], x[:-1])]))
  assert np.abs(pairs - np.eye(6)).max() < 5 * 0.0041


def test_no_image_is_flipped_with_mirror_off():
  assert not draw(jax.random.key(0), 100, 4, False).mirrored.any()


def test_augmentation_of_a_sharded_batch_needs_no_communication():
  devices = jax.devices()
  mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  images = RNG.normal(size=(8 * len(devices), 8, 8, 3)).astype(np.float32)
  key = jax.random.key(2)
  step = jax.jit(lambda key, images: augment(key, images, 4, True), out_shardings=split)
  sharded = jax.device_put(images, split)
  program = step.lower(key, sharded).compile().as_text()
  assert not [word for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute") if word in program]
  np.testing.assert_array_equal(step(key, sharded), augment(key, images, 4, True))


def test_normalization_by_the_pixel_mean():
  found = statistics(PIXELS, Data())
  assert found.mean.shape == (6, 5, 3)
  assert found.mean.dtype == found.std.dtype == np.float32
  np.testing.assert_array_equal(found.mean, (PIXELS.astype(float).mean(axis=0) / 255).astype(np.float32))
  np.testing.assert_array_equal(found.std, np.ones(3))
  result = normalize(jnp.asarray(PIXELS), found)
  assert result.dtype == np.float32
  np.testing.assert_allclose(result, PIXELS / 255 - PIXELS.mean(axis=0) / 255, atol=2e-7)


def test_normalization_by_channel_statistics():
  pixels = np.concatenate([PIXELS] * 60)  # more images than are processed at a time
  found = statistics(pixels, Data(normalize="channel"))
  scaled = pixels / 255
  np.testing.assert_allclose(found.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-7)
  np.testing.assert_allclose(found.std, scaled.std(axis=(0, 1, 2)), rtol=1e-7)
  result = np.asarray(normalize(jnp.asarray(pixels), found), float)
  np.testing.assert_allclose(result.mean(axis=(0, 1, 2)), 0, atol=1e-6)
  np.testing.assert_allclose(result.std(axis=(0, 1, 2)), 1, atol=1e-6)


def test_a_constant_channel_is_refused():
  pixels = PIXELS.copy()
  pixels[..., 1] = 9
  with pytest.raises(ConfigError, match=r"data.normalize = 'channel': channel 1 is constant"):
    statistics(pixels, Data(normalize="channel"))


def test_padding_has_the_value_of_the_mean():
  # Normalized images are padded with zeros, so any crop of an image that equals the mean is zero.
  found = statistics(PIXELS, Data())
  images = np.zeros((32, 6, 5, 3), np.float32)
  np.testing.assert_array_equal(augment(jax.random.key(0), images, 4, True), images)
  assert found.mean.min() > 0


def test_given_statistics_are_used_whatever_the_images_are():
  data = Data(normalize="given", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
  found = statistics(np.zeros((2, 4, 4, 3), np.uint8), data)
  assert (found.mean.tolist(), found.std.tolist()) == (np.float32(data.mean).tolist(), np.float32(data.std).tolist())
  with pytest.raises(ConfigError, match=r"^data.mean = \(0.485, 0.456, 0.406\): must have 1 values, one per channel"):
    statistics(np.zeros((2, 4, 4, 1), np.uint8), data)
