"""CIFAR prepared by tensorflow-datasets from small archives on a local server, without TensorFlow."""

import dataclasses
import functools
import hashlib
import http.server
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorboardX.record_writer import RecordWriter

from resjax.config import Data
from resjax.data import cifar_format, cifar_tfds, load
from resjax.data.cifar_format import FAMILIES
from resjax.data.tfds_preparation import prepare
from tests.synthetic_cifar import binary_contents, label_name_contents, load_error, small_family, write_archive


class QuietHandler(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *_):
    pass


@pytest.fixture
def url(tmp_path):
  """Yields the address of a server of the folder `served`."""
  (tmp_path / "served").mkdir()
  handler = functools.partial(QuietHandler, directory=tmp_path / "served")
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def name(small_cifar, monkeypatch, tmp_path, url):
  """Returns the name of a small data set that is published on the local server and prepared below `prepared`."""
  family = FAMILIES[small_cifar]
  monkeypatch.setitem(FAMILIES, small_cifar, dataclasses.replace(family, url=f"{url}/{family.binary.archive}"))
  monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "prepared"))
  return small_cifar


@pytest.fixture
def data(name, tmp_path):
  """Returns settings with which the archive is downloaded and prepared."""
  write_archive(
    tmp_path / "served" / small_family(name).binary.archive, binary_contents(name) | label_name_contents(name)
  )
  return Data(name=name, checksum="any")


def contents_by_file(name):
  """Returns the contents of the binary files by file name without suffix."""
  return {
    file.name: content for file, content in zip(small_family(name).files, binary_contents(name).values(), strict=True)
  }


def test_the_prepared_data_set_is_that_of_the_library(name, data, tmp_path, capfd):
  direct = cifar_format.parse(contents_by_file(name), small_family(name), "", "", ())
  found = load(data)
  assert capfd.readouterr().out == ""
  np.testing.assert_array_equal(found.train_images, direct.train.images)
  np.testing.assert_array_equal(found.train_labels, direct.train.labels)
  np.testing.assert_array_equal(found.test_images, direct.test.images)
  np.testing.assert_array_equal(found.test_labels, direct.test.labels)
  assert "different SHA-1: " in found.notes[0]
  assert (found.path, found.form) == (str(tmp_path / "prepared" / name / "3.0.2"), "tensorflow-datasets")

  # The library's own data set of that name reads it, including label names and coarse labels.
  stock = tfds.data_source(name, split="train", download=False)
  assert len(stock) == small_family(name).images("train")
  for record in stock:
    index = int(record["id"].decode().removeprefix("train_"))
    np.testing.assert_array_equal(record["image"], direct.train.images[index])
    assert record["label"] == direct.train.labels[index]
  features = tfds.builder(name).info.features
  assert {label: features[label].int2str(3) for label in small_family(name).labels} == {
    label: f"{label}3" for label in small_family(name).labels
  }
  if name == "cifar100":
    record = next(record for record in stock if record["id"] == b"train_00002")
    assert (record["coarse_label"], record["label"]) == (1, 1)


def test_a_prepared_data_set_is_not_prepared_again(name, data, tmp_path):
  first = load(data)
  (tmp_path / "served" / small_family(name).binary.archive).unlink()
  assert load(data).digest == first.digest
  prepared = tmp_path / "prepared"
  for path in (prepared, prepared / name, prepared / name / "3.0.2"):
    again = load(Data(name=name, path=str(path), checksum="any"))
    assert (again.digest, again.path, again.form) == (first.digest, first.path, "tensorflow-datasets")


def test_a_prepared_data_set_is_compared_with_the_published_checksums(name, data, tmp_path, monkeypatch):
  load(data)
  path = str(tmp_path / "prepared")
  load_error(Data(name=name, path=path), f"different SHA-1: {small_family(name).files[0].name}.bin.*data.checksum=any")
  files = tuple(
    dataclasses.replace(file, checksums={"sha1": hashlib.sha1(contents_by_file(name)[file.name]).hexdigest()})
    for file in small_family(name).files
  )
  monkeypatch.setitem(FAMILIES, name, dataclasses.replace(small_family(name), files=files))
  assert load(Data(name=name, path=path)).notes == ()


def test_tfrecord_files_are_read(name, data, tmp_path):
  """The library prepares them by default, but writes them only with TensorFlow, so tensorboardX writes them here."""
  first = load(data)
  folder = tmp_path / "prepared" / name / "3.0.2"
  for split in ("train", "test"):
    records = tfds.builder_from_directory(folder).as_data_source(split).data_source
    (path,) = folder.glob(f"*{split}.array_record*")
    contents = records.__getitems__(list(range(len(records))))
    writer = RecordWriter(str(path).replace("array_record", "tfrecord"))
    for content in contents:
      writer.write(content)
    writer.close()
    path.unlink()
  info = folder / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  found = load(Data(name=name, path=str(folder), checksum="any"))
  assert (found.digest, found.form) == (first.digest, "tensorflow-datasets")
  (path,) = folder.glob("*test.tfrecord*")
  path.write_bytes(path.read_bytes()[:-100])
  load_error(Data(name=name, path=str(folder), checksum="any"), "damaged or not CIFAR.*truncated")


def test_a_damaged_prepared_data_set_is_named(name, data, tmp_path):
  load(data)
  prepared = tmp_path / "prepared" / name / "3.0.2"
  (records,) = prepared.glob("*test.array_record*")
  good = records.read_bytes()
  for damaged in (good[: len(good) // 2], good[:100] + b"\xff" + good[101:]):
    records.write_bytes(damaged)
    assert str(prepared) in load_error(data, "damaged or not CIFAR.*; remove it to have it prepared again")
  records.unlink()
  load_error(data, "damaged or not CIFAR")
  info = prepared / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  load_error(data, r"cannot be used \(File format is already set.*set TFDS_DATA_DIR to use another folder")


def test_a_prepared_data_set_with_too_few_images_is_refused(name, data, monkeypatch):
  load(data)
  family = small_family(name)
  more = (dataclasses.replace(family.files[0], records=9), *family.files[1:])
  monkeypatch.setitem(FAMILIES, name, dataclasses.replace(family, files=more))
  load_error(data, f"{family.images('train')} images in train, must be {family.images('train') + 3}")


def test_a_damaged_archive_leaves_nothing_behind(name, data, tmp_path):
  served = tmp_path / "served" / small_family(name).binary.archive
  write_archive(served, binary_contents(name))
  load_error(data, f"has no {next(iter(small_family(name).names.values()))}")
  assert not list((tmp_path / "prepared" / name).iterdir())
  shutil.rmtree(tmp_path / "prepared" / "downloads")  # the library keeps what it has downloaded
  write_archive(served, binary_contents(name) | label_name_contents(name))
  assert len(load(data).test_labels) == small_family(name).images("test")


def test_a_failed_download_names_the_setting_for_a_local_archive(name, monkeypatch):
  archive_name = small_family(name).binary.archive
  family = dataclasses.replace(small_family(name), url=f"http://127.0.0.1:9/{archive_name}")
  monkeypatch.setitem(FAMILIES, name, family)
  load_error(Data(name=name), rf"{family.url}: cannot be downloaded .*; set data.path to a local {archive_name}")


def test_preparation_succeeds_if_another_process_has_completed_it(name, data, monkeypatch):
  load(data)
  builder = cifar_tfds._builder(name, small_family(name))

  def fail(**_):
    raise OSError("Directory not empty")

  monkeypatch.setattr(builder, "download_and_prepare", fail)
  prepare(builder)


def test_tensorflow_is_never_imported(name, data, tmp_path):
  load(data)
  code = """
import sys
from resjax.data import cifar_tfds
from tests.synthetic_cifar import small_family
from pathlib import Path
contents = cifar_tfds.read(Path(sys.argv[1]), small_family(sys.argv[2]))
print(len(contents), [name for name in ("tensorflow", "jax") if name in sys.modules])
"""
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", code, str(tmp_path / "prepared" / name / "3.0.2"), name],
    env={"PYTHONPATH": "."},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == f"{len(small_family(name).files)} []\n"
