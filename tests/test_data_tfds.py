"""CIFAR through tensorflow-datasets, from small local archives, without TensorFlow and without a network."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from resjax.config import Data
from resjax.data import cifar_format, cifar_tfds, load
from resjax.data.cifar_format import FAMILIES
from resjax.data.prepared import prepare
from resjax.settings import ConfigError
from tests.small_cifar import archive, label_names, made, small


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request, monkeypatch, tmp_path):
  """A data set of small files, its archive taken for the published one, in a folder of prepared data of its own."""
  monkeypatch.setitem(FAMILIES, request.param, small(request.param))
  monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "prepared"))
  monkeypatch.setattr(cifar_tfds, "archive_difference", lambda path, family: "")
  return request.param


@pytest.fixture
def data(name, tmp_path):
  """Settings that name the small archive."""
  path = archive(tmp_path / small(name).archive, made(name) | label_names(name))
  return Data(name=name, path=str(path))


def test_prepares_the_stock_data_set(name, data, tmp_path, capfd):
  direct = cifar_format.parse(made(name), small(name), "", ())
  found = load(data)
  assert capfd.readouterr().out == ""
  np.testing.assert_array_equal(found.train_images, direct.train.images)
  np.testing.assert_array_equal(found.train_labels, direct.train.labels)
  np.testing.assert_array_equal(found.test_images, direct.test.images)
  np.testing.assert_array_equal(found.test_labels, direct.test.labels)
  assert found.notes == ()
  assert found.path == data.path

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


def test_prepared_once(name, data, tmp_path, monkeypatch):
  first = load(data)
  monkeypatch.setattr(cifar_tfds, "unpack", None)
  assert load(data).digest == first.digest
  downloaded = load(Data(name=name))  # nothing is downloaded: it is prepared
  assert downloaded.digest == first.digest
  assert downloaded.path == str(tmp_path / "prepared" / name / "3.0.2")


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
    assert str(prepared) in expect(data, "damaged or not cifar.*; remove it to have it prepared again")
  records.unlink()
  expect(data, "damaged or not cifar")
  info = prepared / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  expect(data, r"cannot be used \(File format is already set.*TFDS_DATA_DIR can name another folder")


def test_prepared_from_fewer_images(name, data, monkeypatch):
  load(data)
  family = small(name)
  more = (dataclasses.replace(family.files[0], records=9), *family.files[1:])
  monkeypatch.setitem(FAMILIES, name, dataclasses.replace(family, files=more))
  expect(data, f"{family.images('train')} images in train, must be {family.images('train') + 3}")


def test_a_damaged_archive_leaves_nothing_behind(name, data, tmp_path):
  archive(tmp_path / small(name).archive, made(name))
  expect(data, f"has no {next(iter(small(name).names.values()))}")
  assert not list((tmp_path / "prepared" / name).iterdir())
  archive(tmp_path / small(name).archive, made(name) | label_names(name))
  assert len(load(data).test_labels) == small(name).images("test")


def test_no_network(name, monkeypatch):
  family = dataclasses.replace(small(name), url=f"http://127.0.0.1:9/{small(name).archive}")
  monkeypatch.setitem(FAMILIES, name, family)
  expect(Data(name=name), rf"{family.url}: cannot be downloaded .*; data.path can name a local {family.archive}")


def test_another_process_was_quicker(name, data, monkeypatch):
  load(data)
  builder = cifar_tfds._builder(name, small(name), None)

  def late(**_):
    raise OSError("Directory not empty")

  monkeypatch.setattr(builder, "download_and_prepare", late)
  prepare(builder)


@pytest.mark.parametrize("real", ["cifar10", "cifar100"])
def test_archive_checksum(real, tmp_path, monkeypatch):
  family = FAMILIES[real]
  path = tmp_path / family.archive
  path.write_bytes(b"abc")
  assert (
    cifar_tfds.archive_difference(path, family)
    == {
      "cifar10": "3 bytes, published are 170,052,171",
      "cifar100": "3 bytes, published are 168,513,733",
    }[real]
  )
  # Registered with the size and SHA-256 (of FIPS 180-2, example B.1) of this file; then of another one as long.
  sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
  info = tfds.core.download.checksums.UrlInfo(size=3, checksum=sha256, filename=None)
  monkeypatch.setattr(tfds.core.download.checksums, "get_all_url_infos", lambda: {family.url: info})
  assert cifar_tfds.archive_difference(path, family) == ""
  path.write_bytes(b"abd")
  assert cifar_tfds.archive_difference(path, family) == "other SHA-256"


def test_tensorflow_is_never_imported(tmp_path):
  code = """
import sys
from tests.small_cifar import archive, label_names, made, small
from resjax.data import cifar_tfds
from pathlib import Path
path = archive(Path(sys.argv[1]) / "a.tar.gz", made("cifar10") | label_names("cifar10"))
source = cifar_tfds.load("cifar10", small("cifar10"), path)
print(len(source.test.labels), [name for name in ("tensorflow", "jax") if name in sys.modules])
"""
  done = subprocess.run(
    [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
    env={"TFDS_DATA_DIR": str(tmp_path / "prepared"), "PYTHONPATH": "."},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == "11 []\n"
