"""Image folders: layouts, validation splits, errors, and data sets that are decoded to memory."""

import hashlib
import importlib.util
import os
import re
import shutil

import numpy as np
import pytest

from resjax.config import Data
from resjax.data import decoded_images, describe, folder, load
from resjax.data.dataset import FileDataset
from resjax.data.files import Unreadable
from resjax.data.image_decoder import decode
from resjax.settings import ConfigError
from tests.synthetic_images import TINY, encode, gradient_image, needs_tiny_imagenet, write_files, write_train_and_val

IN_MEMORY = {"name": "folder", "image_size": 32, "resize": ()}


def test_folders_train_and_val_are_the_two_splits(tmp_path):
  data = Data(**IN_MEMORY, path=str(write_train_and_val(tmp_path)))
  description, found = describe(data), load(data)
  assert description.image_shape == (32, 32, 3)
  assert (description.classes, description.train_images, description.test_images) == (2, 10, 6)
  assert found.train_images.shape == (10, 32, 32, 3)
  assert found.test_images.shape == (6, 32, 32, 3)
  assert found.train_labels.tolist() == [0] * 5 + [1] * 5
  assert found.test_labels.tolist() == [0] * 3 + [1] * 3
  # The blue value identifies an image, up to the loss of JPEG.
  blues = [40, 41, 42, 43, 44, 200, 201, 202, 203, 204]
  assert np.abs(found.train_images[:, 16, 16, 2] - np.array(blues, int)).max() <= 2
  assert found.path == str(tmp_path)
  assert found.skipped == ()


def test_images_of_the_requested_size_are_not_changed(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
  write_files(tmp_path, {f"{split}/a/x.png": encode(pixels, "PNG") for split in ("train", "val")})
  found = load(Data(**IN_MEMORY, path=str(tmp_path)))
  np.testing.assert_array_equal(found.train_images[0], pixels)


def test_the_layout_of_tiny_imagenet_is_read(tmp_path):
  image = encode(gradient_image(32, 32))
  files = {f"train/n{label}/images/n{label}_{i}.JPEG": image for label in range(3) for i in range(2)}
  files |= {f"train/n{label}/n{label}_boxes.txt": b"n0_0.JPEG\t0\t0\t62\t62\n" for label in range(3)}
  files |= {f"val/images/val_{i}.JPEG": image for i in range(3)}
  files["val/val_annotations.txt"] = (
    b"val_1.JPEG\tn2\t0\t1\t2\t3\nval_0.JPEG\tn1\t0\t1\t2\t3\nval_2.JPEG\tn1\t0\t1\t2\t3\n"
  )
  write_files(tmp_path, files)
  found = load(Data(**IN_MEMORY, path=str(tmp_path)))
  assert found.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
  assert found.test_labels.tolist() == [2, 1, 1]
  write_files(tmp_path, {"val/val_annotations.txt": b"val_0.JPEG\tn1\nval_1.JPEG\tn7\n"})
  with pytest.raises(ConfigError, match=r"val_annotations.txt, line 2: class 'n7' is not in .*train$"):
    describe(Data(**IN_MEMORY, path=str(tmp_path)))


@pytest.mark.parametrize("top", ["", "train/"])
def test_a_share_of_a_folder_without_val_is_the_test_set(tmp_path, top):
  write_files(tmp_path, {f"{top}{label}/{i}.jpg": encode(gradient_image(9, 9)) for label in "ab" for i in range(10)})
  found = load(Data(name="folder", path=str(tmp_path), test_share=0.2))
  assert isinstance(found, FileDataset)
  assert (len(found.train), len(found.test)) == (16, 4)
  assert not set(found.train.names) & set(found.test.names)
  assert found.test.names == load(Data(name="folder", path=str(tmp_path), test_share=0.2)).test.names
  for share in (0.0, 0.01, 1.0):
    with pytest.raises(
      ConfigError,
      match=rf"data.test_share = {share}: selects \d+ of the 20 images of .* which has neither val/ nor test/",
    ):
      describe(Data(name="folder", path=str(tmp_path), test_share=share))


def test_folders_train_and_test_are_the_two_splits(tmp_path):
  """A folder test/ without folders of classes has no labels; then, and next to val/, it is not read."""
  write_train_and_val(tmp_path)
  (tmp_path / "val").rename(tmp_path / "test")
  data = Data(name="folder", path=str(tmp_path))
  found = load(data)
  assert (len(found.train), describe(data).train_images, describe(data).test_images) == (10, 10, 6)
  assert [name.split("/")[:2] for name in found.test.names] == [["test", "class0"]] * 3 + [["test", "class1"]] * 3
  assert found.test.labels.tolist() == [0] * 3 + [1] * 3
  assert found.class_names == ("class0", "class1")
  (tmp_path / "test/class1").rename(tmp_path / "test/class2")
  with pytest.raises(ConfigError, match=r"test/class2: not a class of .*train; rename it, or move it away$"):
    load(data)
  shutil.copytree(tmp_path / "test/class0", tmp_path / "val/class0")
  with pytest.raises(ConfigError, match="val and test both have folders of the classes; move the one that is not"):
    load(data)
  shutil.rmtree(tmp_path / "test/class0")  # as in Tiny ImageNet, a folder without the name of a class remains
  assert {name.split("/")[0] for name in load(data).test.names} == {"val"}
  shutil.rmtree(tmp_path / "val")
  (tmp_path / "test/class2").rename(tmp_path / "elsewhere")
  (tmp_path / "test/0.JPEG").write_bytes(encode(gradient_image(9, 9)))
  assert {name.split("/")[0] for name in load(data).test.names} == {"train"}  # data.test_share
  (tmp_path / "test/images").mkdir()
  (tmp_path / "test/0.JPEG").rename(tmp_path / "test/images/0.JPEG")
  assert {name.split("/")[0] for name in load(data).test.names} == {"train"}


def test_links_to_folders_are_followed_once(tmp_path):
  """The class `a` contains its own images, those of two linked folders, and links that lead nowhere new."""
  image = encode(gradient_image(9, 9))
  write_files(tmp_path, {f"set/{name}.png": image for name in ("a/0", "a/own/1", "b/2")})
  write_files(tmp_path, {f"{name}.png": image for name in ("more/3", "more/deeper/4", "other/5")})
  for name, target in (
    ("a/before", "set/a/own"),  # sorts before the folder that it leads to
    ("a/first", "more"),
    ("a/second", "more"),
    ("a/own/again", "more/deeper"),
    ("a/third", "other"),
    ("a/up", "set"),
    ("b/self", "set/b"),
  ):
    (tmp_path / "set" / name).symlink_to(tmp_path / target)
  (tmp_path / "set/c").symlink_to(tmp_path / "other")
  found = folder.find(Data(name="folder", path=str(tmp_path / "set"), test_share=0.2))
  assert found[2] == ("a", "b", "c")
  names = {name: label for part in found[:2] for name, label in zip(part.names, part.labels.tolist(), strict=True)}
  assert names == {
    **{f"a/{name}.png": 0 for name in ("0", "own/1", "first/3", "first/deeper/4", "third/5")},
    "b/2.png": 1,
    "c/5.png": 2,
  }


@pytest.mark.parametrize("resize", [(), (40, 50)])
def test_names_that_are_not_utf8_are_recorded_with_escapes(tmp_path, resize):
  """The digest is that of the bytes on disk; the expected value is computed here from them."""
  image = encode(gradient_image(40, 40))
  files = {
    b"train/tee/\xe9.png": (0, image),
    b"train/th\xe9/0.png": (1, image),
    b"val/tee/0.png": (0, image),
    b"val/th\xe9/0.png": (1, image),
    b"val/th\xe9/\xe9.png": (1, b""),
  }
  write_files(tmp_path, {os.fsdecode(name): content for name, (_, content) in files.items()})
  sha = hashlib.sha256()
  for split in (b"train", b"val"):
    lines = [(name, len(content), label) for name, (label, content) in files.items() if name.startswith(split)]
    sha.update(b"".join(b"%s\0%d\0%d\n" % line for line in lines) + b"\n")
  data = Data(name="folder", path=str(tmp_path), image_size=32, resize=resize)
  found = load(data)
  assert found.class_names == ("tee", "th\\xe9")
  fault = r"val/th\xe9/\xe9.png: not an image, or truncated at its beginning"
  if resize:
    assert found.digest == sha.hexdigest()
    with pytest.raises(Unreadable, match=re.escape(fault)):
      decode(found.test.read(2), 32)
  else:
    assert found.skipped == (fault,)
    assert found.test_labels.tolist() == [0, 1]


def test_files_can_be_held_out_for_validation(tmp_path):
  data = Data(name="folder", path=str(write_train_and_val(tmp_path)), validation_images=3)
  found = load(data)
  assert (len(found.train), len(found.validation), describe(data).train_images) == (7, 3, 7)
  whole_set = load(Data(name="folder", path=data.path))
  assert sorted(found.train.names + found.validation.names) == sorted(whole_set.train.names)
  assert found.digest == whole_set.digest
  # They are the same images as of a data set in memory.
  in_memory = load(Data(**IN_MEMORY, path=data.path, validation_images=3))
  assert in_memory.validation_labels.tolist() == found.validation.labels.tolist()


def test_the_digest_depends_on_names_sizes_and_labels(tmp_path):
  data = Data(name="folder", path=str(write_train_and_val(tmp_path)))
  seen = {load(data).digest}
  (tmp_path / "train/class0/train_0.JPEG").rename(tmp_path / "train/class0/other.JPEG")
  seen.add(load(data).digest)
  with (tmp_path / "train/class0/other.JPEG").open("ab") as file:
    file.write(b"x")
  seen.add(load(data).digest)
  (tmp_path / "train/class0").rename(tmp_path / "train/class7")
  (tmp_path / "val/class0").rename(tmp_path / "val/class7")
  seen.add(load(data).digest)
  assert len(seen) == 4


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"path": ""}, "data.path is empty: data.name = 'folder' needs the path of an image folder"),
    ({"path": "nowhere"}, "data.path = 'nowhere': no such folder"),
    ({"validation_images": 10}, "data.validation_images = 10: must be 0 to 9"),
  ],
)
@pytest.mark.parametrize("function", [describe, load])
def test_invalid_settings_are_errors(tmp_path, change, message, function):
  values = {**IN_MEMORY, "path": str(write_train_and_val(tmp_path))} | change
  for resize in ((), (40, 50)):
    with pytest.raises(ConfigError, match=message):
      function(Data(**values | {"resize": resize}))


@pytest.mark.parametrize(
  ("files", "message"),
  [
    ({"readme.txt": b""}, r"contains no folder; there must be one per class"),
    ({"a/readme.txt": b""}, r"a: contains no image; images are files named \*\.jpeg, \*\.jpg, \*\.png"),
    ({"train/a/1.png": b"", "train/b/2.txt": b"", "val/a/1.png": b""}, r"train/b: contains no image"),
    ({"train/a/1.png": b"", "val/a/1.png": b"", "val/z/1.png": b""}, r"val/z: not a class of .*train"),
    ({"train/a/1.png": b"", "val/1.png": b""}, r"val: contains no folder"),
  ],
)
@pytest.mark.parametrize("function", [describe, load])
def test_invalid_folders_are_errors(tmp_path, files, message, function):
  with pytest.raises(ConfigError, match=message) as error:
    function(Data(**IN_MEMORY, path=str(write_files(tmp_path, files))))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"resize": (256,)}, r"data.resize = \(256,\): must be empty, or the smallest and the largest shorter side"),
    ({"resize": (480, 256)}, r"data.resize = \(480, 256\): must be"),
    ({"resize": (200, 480)}, r"at least data.image_size = 224"),
    ({"image_size": 300}, r"data.resize = \(256, 480\): .* at least data.image_size = 300"),
  ],
)
def test_contradictory_sizes_are_errors(values, message):
  with pytest.raises(ConfigError, match=message):
    Data(**values)


def test_broken_images_are_omitted_and_named(tmp_path):
  write_train_and_val(tmp_path)
  write_files(
    tmp_path, {"train/class0/train_1.JPEG": b"", "val/class1/val_2.JPEG": encode(gradient_image(40, 50))[:500]}
  )
  found = load(Data(**IN_MEMORY, path=str(tmp_path)))
  assert found.train_labels.tolist() == [0] * 4 + [1] * 5
  assert found.test_labels.tolist() == [0] * 3 + [1] * 2
  assert [fault.split(":")[0] for fault in found.skipped] == ["train/class0/train_1.JPEG", "val/class1/val_2.JPEG"]


def test_a_split_without_intact_images_is_an_error(tmp_path):
  write_train_and_val(tmp_path)
  for path in (tmp_path / "val").rglob("*.JPEG"):
    path.write_bytes(b"")
  with pytest.raises(
    ConfigError, match=r"no test image can be decoded; the first: val/class0/val_0.JPEG: not an image"
  ):
    load(Data(**IN_MEMORY, path=str(tmp_path)))


def test_a_data_set_that_is_too_large_for_memory_is_an_error(tmp_path, monkeypatch):
  monkeypatch.setattr(decoded_images, "MOST", 16 * 32 * 32 * 3 - 1)
  path = str(write_train_and_val(tmp_path))
  with pytest.raises(ConfigError, match=r"data.resize is empty: 16 images .* set data.resize=\(32,32\) to decode them"):
    load(Data(**IN_MEMORY, path=path))


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "simplejpeg" else find(name))
  for resize in ((), (40, 50)):
    data = Data(name="folder", image_size=32, resize=resize, path=str(write_train_and_val(tmp_path)))
    assert describe(data).classes == 2
    with pytest.raises(ConfigError, match=r"data\.name = 'folder' needs simplejpeg: install the extra imagenet"):
      load(data)


@needs_tiny_imagenet
def test_the_real_tiny_imagenet_is_read():
  found = load(Data(name="folder", image_size=64, resize=(), path=str(TINY)))
  assert found.train_images.shape == (10_000, 64, 64, 3)
  assert found.test_images.shape == (1_000, 64, 64, 3)
  assert np.bincount(found.train_labels).tolist() == [500] * 20
  assert found.skipped == ()
