"""The order of the images: permutations, independence of the intervals of steps, and positions beyond 32 bits."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from resjax.data.order import batch_order
from resjax.settings import ConfigError

compiled = jax.jit(batch_order, static_argnames=("steps", "images", "batch_size"))
permutation = jax.jit(
  lambda key, epoch, images: jax.random.permutation(jax.random.fold_in(key, epoch), images), static_argnames="images"
)
# Numbers of images and batch sizes, each compiled once. Batches divide the data set, cross epochs, or contain several.
sizes = st.sampled_from([(12, 4), (7, 3), (5, 13), (1, 2)])


def stream(seed: int, images: int, positions: range) -> np.ndarray:
  """Returns the images at positions: that at p is entry p % images of the permutation of epoch p // images."""
  key = jax.random.key(seed)
  permutations = {e: np.asarray(permutation(key, e, images)) for e in {p // images for p in positions}}
  return np.array([permutations[p // images][p % images] for p in positions], np.int32)


@settings(max_examples=40, deadline=None)
@given(size=sizes, start=st.integers(0, 200), seed=st.integers(0, 2**31 - 1))
def test_batches_are_consecutive_parts_of_the_stream_of_permutations(size, start, seed):
  images, batch_size = size
  rows = compiled(jax.random.key(seed), start, steps=3, images=images, batch_size=batch_size)
  assert rows.shape == (3, batch_size)
  assert rows.dtype == np.int32
  expected = stream(seed, images, range(start * batch_size, (start + 3) * batch_size))
  np.testing.assert_array_equal(np.ravel(rows), expected)


@settings(max_examples=40, deadline=None)
@given(size=sizes, seed=st.integers(0, 99))
def test_each_epoch_contains_every_image_once(size, seed):
  images, batch_size = size
  rows = compiled(jax.random.key(seed), 0, steps=2 * images, images=images, batch_size=batch_size)
  for epoch in np.asarray(rows).reshape(2 * batch_size, images):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(images))


@settings(max_examples=40, deadline=None)
@given(size=sizes, start=st.integers(0, 50), cuts=st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_the_order_does_not_depend_on_the_intervals_of_steps(size, start, cuts):
  images, batch_size = size
  key, parts, step = jax.random.key(7), [], start
  for steps in cuts:
    parts.append(compiled(key, step, steps=steps, images=images, batch_size=batch_size))
    step += steps
  single = [compiled(key, t, steps=1, images=images, batch_size=batch_size) for t in range(start, step)]
  np.testing.assert_array_equal(np.concatenate(parts), np.concatenate(single))


def test_all_intervals_use_one_program():
  key = jax.random.key(3)
  before = compiled._cache_size()
  rows = [compiled(key, np.int32(start), steps=5, images=13, batch_size=4) for start in range(0, 40, 5)]
  assert compiled._cache_size() == before + 1
  np.testing.assert_array_equal(np.ravel(np.concatenate(rows)), stream(3, 13, range(160)))


def test_seeds_and_epochs_have_different_orders():
  # Of 50! orders two are equal only if the key is not used.
  orders = [np.asarray(batch_order(jax.random.key(seed), 0, 3, 50, 50)) for seed in (0, 1)]
  rows = [tuple(row) for order in orders for row in order]
  assert len(set(rows)) == 6


def test_the_order_is_correct_for_positions_beyond_32_bits():
  # The reference uses Python's integers, which have no limit.
  start = 2**31 - 3
  rows = compiled(jax.random.key(0), np.int32(start), steps=2, images=50_000, batch_size=128)
  np.testing.assert_array_equal(np.ravel(rows), stream(0, 50_000, range(start * 128, (start + 2) * 128)))


def test_batch_sizes_that_would_overflow_are_an_error():
  with pytest.raises(ConfigError, match=r"train.batch_size = 4096: must be at most 1\d\d\d for 1281167"):
    batch_order(jax.random.key(0), 0, 100, 1_281_167, 4096)
  order = jax.eval_shape(lambda key: batch_order(key, 0, 1, 1000, 2_000_000), jax.random.key(0))
  assert order.shape == (1, 2_000_000)
