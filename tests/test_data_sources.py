"""Digits, .npz files, held-out validation images, digests, and what the package imports."""

import subprocess
import sys

import numpy as np
import pytest

from resjax.config import Data
from resjax.data import describe, load
from resjax.data.dataset import Images, digest, hold_out
from resjax.settings import ConfigError

RNG = np.random.default_rng(0)


def arrays(**changes):
  """Returns the arrays of a valid .npz file, with some of them replaced, or omitted if they are None."""
  good = {
    "x_train": RNG.integers(0, 256, (12, 5, 6, 3), np.uint8),
    "y_train": np.arange(12) % 3,
    "x_test": RNG.integers(0, 256, (4, 5, 6, 3), np.uint8),
    "y_test": np.array([2, 0, 1, 2], np.uint8),
  }
  return {name: value for name, value in (good | changes).items() if value is not None}


@pytest.fixture
def npz(tmp_path):
  """Returns a function that writes arrays to a file and returns the settings that read it."""

  def write(values, save=np.savez_compressed):
    path = tmp_path / "images.npz"
    save(path, **values)
    return Data(name="npz", path=str(path))

  return write


def test_the_digits_have_the_documented_shapes_and_values():
  data = Data(name="digits")
  found, description = load(data), describe(data)
  assert found.train_images.shape == (1437, *description.image_shape) == (1437, 8, 8, 1)
  assert found.test_images.shape == (360, 8, 8, 1)
  assert (description.train_images, description.test_images, description.classes) == (1437, 360, 10)
  assert found.train_images.dtype == np.uint8
  assert found.train_labels.dtype == np.int32
  assert set(np.unique(found.train_images)) == {round(value * 255 / 16) for value in range(17)}
  assert np.bincount(found.test_labels).min() >= 33
  assert found.validation_images.shape == (0, 8, 8, 1)
  assert found.path == ""
  assert found.notes == ()
  assert found.digest == load(data).digest


def test_digits_with_a_path_are_an_error():
  with pytest.raises(ConfigError, match=r"data.path = 'x': must be empty"):
    describe(Data(name="digits", path="x"))


def test_held_out_images_are_a_random_part_of_the_training_set():
  whole = load(Data(name="digits"))
  small, large = (load(Data(name="digits", validation_images=count)) for count in (100, 300))
  assert len(large.validation_images) == 300
  assert (
    len(large.train_images)
    == len(large.train_labels)
    == describe(Data(name="digits", validation_images=300)).train_images
    == 1137
  )

  def rows(images):
    return [image.tobytes() for image in images]

  assert sorted(rows(large.train_images) + rows(large.validation_images)) == sorted(rows(whole.train_images))
  assert set(rows(small.validation_images)) <= set(rows(large.validation_images))
  # 30 of each class are expected, with a hypergeometric standard deviation below 5.
  assert np.abs(np.bincount(large.validation_labels) - 30).max() < 15
  assert large.digest == whole.digest


def test_the_choice_of_validation_images_never_changes():
  # Results depend on it, so a new version of NumPy must not change it.
  train, held = hold_out(Images(np.zeros((50_000, 1, 1, 1), np.uint8), np.arange(50_000)), 5000)
  assert (len(train.labels), len(held.labels)) == (45_000, 5000)
  assert held.labels[:5].tolist() == [14, 22, 24, 28, 64]


@pytest.mark.parametrize("count", [1437, 5000])
@pytest.mark.parametrize("function", [describe, load])
def test_holding_out_too_many_images_is_an_error(count, function):
  with pytest.raises(ConfigError, match=rf"data.validation_images = {count}: must be 0 to 1436"):
    function(Data(name="digits", validation_images=count))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_are_read(npz, save):
  values = arrays(something_else=np.zeros(3))
  data = npz(values, save)
  description, found = describe(data), load(data)
  assert description.image_shape == (5, 6, 3)
  assert (description.classes, description.train_images, description.test_images) == (3, 12, 4)
  np.testing.assert_array_equal(found.train_images, values["x_train"])
  np.testing.assert_array_equal(found.test_labels, values["y_test"])
  assert found.train_labels.dtype == found.test_labels.dtype == np.int32
  assert found.path == data.path


def test_npz_files_may_have_images_without_channels(npz):
  values = arrays()
  values |= {name: np.asfortranarray(values[name][..., 0]) for name in ("x_train", "x_test")}
  data = npz(values)
  found = load(data)
  assert describe(data).image_shape == (5, 6, 1)
  np.testing.assert_array_equal(found.train_images[..., 0], values["x_train"])
  assert found.train_images.flags.c_contiguous


def test_npz_files_may_have_labels_with_the_shape_of_keras(npz):
  """`cifar10.load_data()` returns labels [N, 1]."""
  values = arrays()
  plain = load(npz(values))
  columns = {name: values[name].reshape(-1, 1) for name in ("y_train", "y_test")}
  assert load(npz(values | columns)).digest == plain.digest


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"y_test": None}, "has no array y_test; it must have x_train, y_train, x_test, y_test"),
    ({"x_train": np.zeros((12, 5, 6, 3), np.float32)}, "x_train is float32, must be uint8"),
    ({"x_train": np.zeros((12, 90), np.uint8)}, r"x_train has shape \(12, 90\), must be \[N, H, W\]"),
    ({"x_test": np.zeros((0, 5, 6, 3), np.uint8)}, r"x_test has shape \(0, 5, 6, 3\)"),
    (
      {"x_test": np.zeros((4, 5, 5, 3), np.uint8)},
      r"x_test has images of shape \(5, 5, 3\), must be \(5, 6, 3\) as in x_train",
    ),
    (
      {"x_test": np.zeros((4, 5, 6), np.uint8)},
      r"x_test has images of shape \(5, 6, 1\), must be \(5, 6, 3\) as in x_train",
    ),
    ({"y_train": np.zeros(12)}, "y_train is float64, must be integers"),
    ({"y_train": np.eye(12, dtype=int)}, r"y_train has shape \(12, 12\), must be \(12,\) or \(12, 1\)"),
    (
      {"x_train": np.zeros((12, 3, 5, 6), np.uint8)},
      r"x_train has shape \(12, 3, 5, 6\), which is \[N, C, H, W\]; the channels must come last: x_train.transp",
    ),
    ({"x_test": np.zeros((4, 1, 5, 6), np.uint8)}, r"x_test .* which is \[N, C, H, W\]"),
    ({"x_train": np.zeros((12, 5, 6, 2), np.uint8)}, r"must be \[N, H, W\] or \[N, H, W, C\] with C = 1 or 3 or 4"),
    ({"x_train": np.zeros((5, 6, 3, 12), np.uint8)}, r"\(5, 6, 3, 12\), must be .* with C = 1 or 3 or 4"),
    ({"x_train": np.zeros((12, 3, 5, 3), np.uint8)}, r"sides of 4 pixels or fewer can be mistaken for channels"),
    ({"x_train": np.zeros((12, 5, 3), np.uint8)}, r"sides of 4 pixels or fewer can be mistaken for channels"),
    ({"y_train": np.zeros(11, int)}, r"y_train has shape \(11,\), must be \(12,\)"),
    ({"y_train": np.arange(12) % 3 + 1}, "y_train has label 1 but not 0"),
    ({"y_train": np.arange(12) % 3 - 1}, "y_train has label -1 but not 0"),
    ({"y_train": np.array([0, 1, 2**40] * 4)}, "y_train has label 1099511627776 but not 2"),
    ({"y_test": np.array([0, 1, 2, 3])}, "y_test has label 3, must be 0 to 2 as in y_train"),
    ({"y_test": np.array([0, 1, 2, -1])}, "y_test has label -1"),
    ({"y_train": np.array([{}] * 12)}, "y_train is object, must be integers"),
  ],
)
@pytest.mark.parametrize("function", [describe, load])
def test_npz_files_with_invalid_arrays_are_errors(npz, changes, message, function):
  with pytest.raises(ConfigError, match=message) as error:
    function(npz(arrays(**changes)))
  assert "images.npz: " in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("function", [describe, load])
def test_damaged_and_missing_npz_files_are_errors(npz, tmp_path, function):
  data = npz(arrays(), np.savez)
  path = tmp_path / "images.npz"
  content = path.read_bytes()
  middle = content.index(b"x_test.npy") + 200
  cases = {
    b"": "not an .npz file, or truncated",
    content[:-30]: "not an .npz file, or truncated",
    b"<!DOCTYPE html><html></html>": "not an .npz file, or truncated",
  }
  if function is load:  # `describe` reads only the headers of the images
    cases[content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]] = "damaged .*CRC"
  for damaged, message in cases.items():
    path.write_bytes(damaged)
    with pytest.raises(ConfigError, match=message) as error:
      function(data)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
  np.save(tmp_path / "images.npy", np.zeros(3))
  cases = {
    "": "data.path is empty",
    str(tmp_path / "none.npz"): "no such file",
    str(tmp_path): "no such file",
    str(tmp_path / "images.npy"): "not an .npz file, or truncated",
  }
  for name, message in cases.items():
    with pytest.raises(ConfigError, match=message):
      function(Data(name="npz", path=name))


def test_the_digest_depends_on_shape_labels_and_order():
  good = load(Data(name="digits"))
  base = Images(good.test_images, good.test_labels)
  seen = {
    digest(base),
    digest(base, base),
    digest(Images(base.images[::-1], base.labels)),
    digest(Images(base.images, base.labels[::-1])),
    digest(Images(base.images.reshape(360, 4, 16, 1), base.labels)),
  }
  assert len(seen) == 5


def test_describing_data_sets_imports_no_heavy_package():
  code = """
import sys
from resjax.config import Data
from resjax import data
for name in ("digits", "cifar10", "cifar100"):
  data.describe(Data(name=name))
print([name for name in ("jax", "tensorflow_datasets", "sklearn", "PIL") if name in sys.modules])
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"
