"""ImageNet prepared by tensorflow-datasets from two small archives with its layout, without TensorFlow."""

import io
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from resjax.config import Data
from resjax.data import batch_stream, describe, load
from resjax.data.batch_stream import Share, TestPieces as InOrder, TrainPieces
from resjax.settings import ConfigError
from tests.synthetic_images import encode, gradient_image

TRAIN = {"n01440764": 3, "n01443537": 2, "n15075141": 1}  # classes 0, 1 and 999 of the library


def add(archive, name, content):
  """Adds a file to a tar archive."""
  member = tarfile.TarInfo(name)
  member.size = len(content)
  archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def data(tmp_path, monkeypatch):
  """Returns settings for the two archives; the data are prepared in a folder of this test."""
  monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "prepared"))
  with tarfile.open(tmp_path / "ILSVRC2012_img_train.tar", "w") as outer:
    for name, images in TRAIN.items():
      file = io.BytesIO()
      with tarfile.open(fileobj=file, mode="w") as inner:
        for i in range(images):
          kind = "PNG" if (name, i) == ("n01440764", 1) else "JPEG"
          add(inner, f"{name}_{i}.JPEG", encode(gradient_image(30, 40, 10 * i), kind, mode="CMYK" if i == 2 else "RGB"))
      add(outer, f"{name}.tar", file.getvalue())
  with tarfile.open(tmp_path / "ILSVRC2012_img_val.tar", "w") as archive:
    for i in (3, 1, 2):
      add(archive, f"ILSVRC2012_val_{i:08}.JPEG", encode(gradient_image(30, 40, 50 * i)))
  return Data(name="imagenet2012", path=str(tmp_path), checksum="any", image_size=24, resize=(26, 40))


def read(files):
  """Returns label and content of all files by name."""
  return {image.name: (image.label, image.content) for image in map(files.read, range(len(files)))}


def test_the_prepared_data_set_has_the_files_and_labels_of_the_archives(data, capfd):
  found = load(data)
  assert capfd.readouterr().out == ""
  train, test = read(found.train), read(found.test)
  labels = dict(zip(TRAIN, (0, 1, 999), strict=True))
  expected = {f"{name}_{i}.JPEG": labels[name] for name, images in TRAIN.items() for i in range(images)}
  assert {name: label for name, (label, _) in train.items()} == expected
  # The first three of the published list of validation classes.
  assert {name: label for name, (label, _) in test.items()} == {
    "ILSVRC2012_val_00000001.JPEG": 65,
    "ILSVRC2012_val_00000002.JPEG": 970,
    "ILSVRC2012_val_00000003.JPEG": 230,
  }
  assert train["n01440764_0.JPEG"][1] == encode(gradient_image(30, 40, 0)), "files are not re-encoded"
  assert test["ILSVRC2012_val_00000002.JPEG"][1] == encode(gradient_image(30, 40, 100))
  assert found.classes == len(found.class_names) == 1000
  assert [found.class_names[label] for label in (0, 1, 999)] == list(TRAIN)
  (batch,) = batch_stream.batches(InOrder(found.train, data, Share(6)), 0, 1, 0)
  assert batch.counts.all(), "files with PNG and CMYK content are decoded"


def test_a_prepared_data_set_needs_no_archives(data, tmp_path):
  first = load(data)
  for path in tmp_path.glob("*.tar"):
    path.unlink()
  again = load(Data(name="imagenet2012", checksum="any"))
  assert again.digest == first.digest
  assert again.path == first.path == str(tmp_path / "prepared/imagenet2012/5.1.0")


def test_worker_processes_read_the_same_images(data):
  make = TrainPieces(load(data).train, data, 3, Share(6))
  in_process, by_workers = (list(batch_stream.batches(make, 0, 2, workers)) for workers in (0, 2))
  for one, other in zip(in_process, by_workers, strict=True):
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_training_images_can_be_held_out(data):
  found = load(Data(**vars(data) | {"validation_images": 2}))
  assert (len(found.train), len(found.validation)) == (4, 2)
  assert read(found.train).keys() | read(found.validation).keys() == read(load(data).train).keys()


def test_the_description_needs_no_data():
  found = describe(Data(name="imagenet2012"))
  assert (found.image_shape, found.classes) == ((224, 224, 3), 1000)
  assert (found.train_images, found.test_images) == (1_281_167, 50_000)


def test_missing_data_and_wrong_numbers_of_images_are_errors(data, tmp_path):
  with pytest.raises(ConfigError, match=r"data.path is empty, and .*imagenet2012/5.1.0 does not exist: set data.path"):
    load(Data(name="imagenet2012"))
  load(data)
  with pytest.raises(
    ConfigError, match=r"6 images in train, but the published set has 1,281,167; .* data.checksum=any"
  ):
    load(Data(name="imagenet2012"))


def test_invalid_and_missing_archives_are_named(data, tmp_path):
  path = tmp_path / "ILSVRC2012_img_val.tar"
  path.write_bytes(b"no archive")
  with pytest.raises(ConfigError, match=r"imagenet2012: cannot be prepared|5.1.0: cannot be prepared"):
    load(data)
  path.unlink()
  with pytest.raises(ConfigError, match=r"contains no ILSVRC2012_img_val.tar"):
    load(data)


def test_loading_does_not_import_tensorflow(data):
  code = f"""
import sys
import tensorflow_datasets as tfds
from resjax.config import Data
from resjax.data import load
tfds.core.constants.DATA_DIR = {str(data.path)!r} + "/prepared"
print(len(load({data!r}).train), "tensorflow" in sys.modules)
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.split() == ["6", "False"]
