"""CIFAR through tensorflow-datasets, from small archives on a local server, without TensorFlow and any network."""

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
from resjax.settings import ConfigError
from tests.synthetic_cifar import archive, label_names, made, small


class Quiet(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *_):
    pass


@pytest.fixture
def url(tmp_path):
  """The address of a server of what is in the folder `served`."""
  (tmp_path / "served").mkdir()
  handler = functools.partial(Quiet, directory=tmp_path / "served")
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request, monkeypatch, tmp_path, url):
  """A data set of small files, published on the local server, in a folder of prepared data of its own."""
  family = small(request.param)
  family = dataclasses.replace(family, url=f"{url}/{family.binary.archive}")
  monkeypatch.setitem(FAMILIES, request.param, family)
  monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "prepared"))
  return request.param


@pytest.fixture
def data(name, tmp_path):
  """Settings that have the small archive downloaded."""
  archive(tmp_path / "served" / small(name).binary.archive, made(name) | label_names(name))
  return Data(name=name, checksum="any")


def by_file(name):
  """The contents of the binary files, by name without suffix."""
  return {file.name: content for file, content in zip(small(name).files, made(name).values(), strict=True)}


def test_prepares_the_stock_data_set(name, data, tmp_path, capfd):
  direct = cifar_format.parse(by_file(name), small(name), "", "", ())
  found = load(data)
  assert capfd.readouterr().out == ""
  np.testing.assert_array_equal(found.train_images, direct.train.images)
  np.testing.assert_array_equal(found.train_labels, direct.train.labels)
  np.testing.assert_array_equal(found.test_images, direct.test.images)
  np.testing.assert_array_equal(found.test_labels, direct.test.labels)
  assert "different SHA-1: " in found.notes[0]
  assert (found.path, found.form) == (str(tmp_path / "prepared" / name / "3.0.2"), "tensorflow-datasets")

  # The library's own data set of that name reads it, label names and coarse labels included.
  stock = tfds.data_source(name, split="train", download=False)
  assert len(stock) == small(name).images("train")
  for record in stock:
    index = int(record["id"].decode().removeprefix("train_"))
    np.testing.assert_array_equal(record["image"], direct.train.images[index])
    assert record["label"] == direct.train.labels[index]
  features = tfds.builder(name).info.features
  assert {label: features[label].int2str(3) for label in small(name).labels} == {
    label: f"{label}3" for label in small(name).labels
  }
  if name == "cifar100":
    record = next(record for record in stock if record["id"] == b"train_00002")
    assert (record["coarse_label"], record["label"]) == (1, 1)


def test_prepared_once(name, data, tmp_path):
  first = load(data)
  (tmp_path / "served" / small(name).binary.archive).unlink()
  assert load(data).digest == first.digest
  prepared = tmp_path / "prepared"
  for path in (prepared, prepared / name, prepared / name / "3.0.2"):
    there = load(Data(name=name, path=str(path), checksum="any"))
    assert (there.digest, there.path, there.form) == (first.digest, first.path, "tensorflow-datasets")


def test_the_published_checksums_are_those_of_the_images(name, data, tmp_path, monkeypatch):
  """A prepared data set holds the published files' images, or it is said that it does not."""
  load(data)
  path = str(tmp_path / "prepared")
  expect(Data(name=name, path=path), f"different SHA-1: {small(name).files[0].name}.bin.*data.checksum=any")
  files = tuple(
    dataclasses.replace(file, checksums={"sha1": hashlib.sha1(by_file(name)[file.name]).hexdigest()})
    for file in small(name).files
  )
  monkeypatch.setitem(FAMILIES, name, dataclasses.replace(small(name), files=files))
  assert load(Data(name=name, path=path)).notes == ()


def test_tfrecord_files_are_read(name, data, tmp_path):
  """The format in which the library prepares by itself. The files are written by tensorboardX, which frames records
  in the same way, for the library writes this format only with TensorFlow."""
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
  expect(Data(name=name, path=str(folder), checksum="any"), "damaged or not CIFAR.*truncated")


def expect(data, message):
  with pytest.raises(ConfigError, match=message) as error:
    load(data)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_damaged_preparation(name, data, tmp_path):
  load(data)
  prepared = tmp_path / "prepared" / name / "3.0.2"
  (records,) = prepared.glob("*test.array_record*")
  good = records.read_bytes()
  for damaged in (good[: len(good) // 2], good[:100] + b"\xff" + good[101:]):
    records.write_bytes(damaged)
    assert str(prepared) in expect(data, "damaged or not CIFAR.*; remove it to have it prepared again")
  records.unlink()
  expect(data, "damaged or not CIFAR")
  info = prepared / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  expect(data, r"cannot be used \(File format is already set.*set TFDS_DATA_DIR to use another folder")


def test_prepared_from_fewer_images(name, data, monkeypatch):
  load(data)
  family = small(name)
  more = (dataclasses.replace(family.files[0], records=9), *family.files[1:])
  monkeypatch.setitem(FAMILIES, name, dataclasses.replace(family, files=more))
  expect(data, f"{family.images('train')} images in train, must be {family.images('train') + 3}")


def test_a_damaged_archive_leaves_nothing_behind(name, data, tmp_path):
  served = tmp_path / "served" / small(name).binary.archive
  archive(served, made(name))
  expect(data, f"has no {next(iter(small(name).names.values()))}")
  assert not list((tmp_path / "prepared" / name).iterdir())
  shutil.rmtree(tmp_path / "prepared" / "downloads")  # the library keeps what it has downloaded
  archive(served, made(name) | label_names(name))
  assert len(load(data).test_labels) == small(name).images("test")


def test_no_network(name, monkeypatch):
  archive_name = small(name).binary.archive
  family = dataclasses.replace(small(name), url=f"http://127.0.0.1:9/{archive_name}")
  monkeypatch.setitem(FAMILIES, name, family)
  expect(Data(name=name), rf"{family.url}: cannot be downloaded .*; set data.path to a local {archive_name}")


def test_another_process_was_quicker(name, data, monkeypatch):
  load(data)
  builder = cifar_tfds._builder(name, small(name))

  def late(**_):
    raise OSError("Directory not empty")

  monkeypatch.setattr(builder, "download_and_prepare", late)
  prepare(builder)


def test_tensorflow_is_never_imported(name, data, tmp_path):
  load(data)
  code = """
import sys
from resjax.data import cifar_tfds
from tests.synthetic_cifar import small
from pathlib import Path
contents = cifar_tfds.read(Path(sys.argv[1]), small(sys.argv[2]))
print(len(contents), [name for name in ("tensorflow", "jax") if name in sys.modules])
"""
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", code, str(tmp_path / "prepared" / name / "3.0.2"), name],
    env={"PYTHONPATH": "."},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == f"{len(small(name).files)} []\n"
