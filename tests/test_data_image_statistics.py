"""Mean image and principal components of colors: against NumPy in float64, and their cache."""

import numpy as np
import pytest

from resjax.config import Data
from resjax.data import image_statistics, load
from resjax.data.batch_stream import Share, TestPieces as InOrder, batches
from resjax.settings import ConfigError
from tests.synthetic_images import PHOTOS, STREAMED, needs_photos, write_train_and_val


@pytest.fixture
def photos(tmp_path):
  data = Data(**STREAMED, path=str(write_train_and_val(tmp_path / "photos", train=20)))
  return data, load(data)


def decode_all(files, data):
  """Returns all images divided by 255, float64 [images, height, width, 3]."""
  (batch,) = batches(InOrder(files, data, Share(len(files))), 0, 1, 0)
  return batch.images[batch.counts] / 255


@pytest.mark.parametrize("workers", [0, 2])
def test_moments_are_those_of_numpy(photos, tmp_path, workers):
  """Sums are exact integers, so results differ by the rounding to float32, and components by that of `eigh`."""
  data, found = photos
  ours, images = (
    image_statistics.moments(found.train, data, found.digest, tmp_path / "store", workers),
    decode_all(found.train, data),
  )
  np.testing.assert_allclose(ours.mean, images.mean(axis=0), rtol=1e-7)
  colors = images.reshape(-1, 3)
  np.testing.assert_allclose(ours.channel_mean, colors.mean(axis=0), rtol=1e-7)
  np.testing.assert_allclose(ours.channel_std, colors.std(axis=0), rtol=1e-6)
  covariance = np.cov(colors.T, bias=True)
  variances = np.linalg.norm(ours.components, axis=0)
  vectors = ours.components / variances
  assert (np.diff(variances) <= 0).all()
  assert (vectors.sum(axis=0) >= 0).all()
  np.testing.assert_allclose(vectors @ np.diag(variances) @ vectors.T, covariance, atol=1e-7)
  np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-6)


def test_moments_are_computed_once_for_each_data_set(photos, tmp_path, monkeypatch):
  data, found = photos
  store, calls, compute = tmp_path / "store", [], image_statistics.compute

  def count(*arguments):
    calls.append(arguments)
    return compute(*arguments)

  monkeypatch.setattr(image_statistics, "compute", count)
  first = image_statistics.moments(found.train, data, found.digest, store, 0)
  again = image_statistics.moments(found.train, data, found.digest, store, 0)
  assert len(calls) == 1
  np.testing.assert_array_equal(first.mean, again.mean)
  np.testing.assert_array_equal(first.components, again.components)
  # The files, the split and the sizes are part of the key of the cache.
  image_statistics.moments(found.train, data, "other", store, 0)
  image_statistics.moments(found.train.take(np.arange(5)), data, found.digest, store, 0)
  image_statistics.moments(found.train, Data(**STREAMED | {"resize": (30, 40)}), found.digest, store, 0)
  assert len(calls) == len(list(store.iterdir())) == 4


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100])
def test_a_damaged_cache_is_replaced(photos, tmp_path, content):
  data, found = photos
  store = tmp_path / "store"
  first = image_statistics.moments(found.train, data, found.digest, store, 0)
  (path,) = store.iterdir()
  whole = path.read_bytes()
  for damaged in (content, whole[: len(whole) // 2]):
    path.write_bytes(damaged)
    again = image_statistics.moments(found.train, data, found.digest, store, 0)
    np.testing.assert_array_equal(first.mean, again.mean)
    assert path.read_bytes() == whole


def test_broken_images_are_omitted(photos, tmp_path):
  data, found = photos
  (found.train.root / found.train.names[3]).write_bytes(b"")
  ours = image_statistics.moments(found.train, data, found.digest, tmp_path / "store", 0)
  np.testing.assert_allclose(ours.mean, decode_all(found.train, data).mean(axis=0), rtol=1e-7)
  assert len(decode_all(found.train, data)) == len(found.train) - 1


def test_an_unusable_cache_and_a_data_set_without_images_are_errors(photos, tmp_path):
  data, found = photos
  (tmp_path / "file").write_bytes(b"")
  with pytest.raises(ConfigError, match=r"file/\w+.npz: cannot be written"):
    image_statistics.moments(found.train, data, found.digest, tmp_path / "file", 0)
  for name in found.train.names:
    (found.train.root / name).write_bytes(b"")
  with pytest.raises(ConfigError, match=r"no training image can be decoded"):
    image_statistics.moments(found.train, data, found.digest, tmp_path / "store", 0)


@needs_photos
def test_photographs_have_the_color_components_of_imagenet(tmp_path):
  """They agree with the published ones within the sampling error of 144 photographs."""
  data = Data(name="folder", path=str(PHOTOS))
  found = load(data)
  ours = image_statistics.moments(found.train, data, found.digest, tmp_path, 0)
  np.testing.assert_allclose(ours.channel_mean, [0.485, 0.456, 0.406], atol=0.03)
  variances = np.linalg.norm(ours.components, axis=0)
  np.testing.assert_allclose(variances, [0.2175, 0.0188, 0.0045], rtol=0.25)
  published = np.array([[0.5675, 0.7192, 0.4009], [0.5808, -0.0045, -0.8140], [0.5836, -0.6948, 0.4203]])
  assert (np.abs(np.sum(ours.components / variances * published, axis=0)) > 0.99).all()
