"""CIFAR from local files: the record format and damaged files, on small made-up ones; the real ones where there are."""

import dataclasses
import gzip
import hashlib
import os
import tarfile

import numpy as np
import pytest

from resjax.config import Data
from resjax.data import describe, load
from resjax.data.cifar_format import FAMILIES
from resjax.settings import ConfigError
from tests.synthetic_cifar import archive, made, small, unpacked


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request, monkeypatch):
  """The name of a data set whose files are small for the time of the test."""
  monkeypatch.setitem(FAMILIES, request.param, small(request.param))
  return request.param


@pytest.fixture
def folder(name, tmp_path):
  """A folder with unpacked files."""
  return unpacked(tmp_path, made(name))


def test_sizes_of_the_real_files():
  ten, hundred = FAMILIES.values()
  assert set(ten.members(ten.binary).values()) == {30_730_000}
  assert ten.members(ten.binary)["cifar-10-batches-bin/test_batch.bin"] == 30_730_000
  assert hundred.members(hundred.binary) == {
    "cifar-100-binary/train.bin": 153_700_000,
    "cifar-100-binary/test.bin": 30_740_000,
  }
  for name, classes in (("cifar10", 10), ("cifar100", 100)):
    found = describe(Data(name=name, validation_images=5000))
    assert (found.image_shape, found.classes) == ((32, 32, 3), classes)
    assert (found.train_images, found.test_images) == (45_000, 10_000)


def test_folder_byte_by_byte(name, folder):
  """Labels and pixels against an index computed by hand from the format's description."""
  found, family, contents = load(Data(name=name, path=str(folder), checksum="any")), small(name), made(name)
  assert (found.path, found.form) == (str(folder / family.binary.folder), "binary")
  index = 0
  for file, content in zip(family.files, contents.values(), strict=True):
    size = 3073 if name == "cifar10" else 3074
    assert len(content) == file.records * size
    images, labels = (
      (found.train_images, found.train_labels) if file.split == "train" else (found.test_images, found.test_labels)
    )
    index = 0 if file.split == "test" else index
    for record in range(file.records):
      start = record * size + size - 3072
      assert labels[index] == content[start - 1]
      for row, column, channel in ((0, 0, 0), (3, 17, 1), (31, 30, 2)):
        assert images[index, row, column, channel] == content[start + channel * 1024 + row * 32 + column]
      index += 1
  assert found.train_labels.dtype == np.int32
  assert found.train_images.flags.c_contiguous


def test_every_way_gives_the_same(name, folder, tmp_path):
  family = small(name)
  packed = archive(tmp_path / family.binary.archive, {f"./{member}": content for member, content in made(name).items()})
  ways = [
    load(Data(name=name, path=str(path), checksum="any")) for path in (folder, folder / family.binary.folder, packed)
  ]
  assert len({way.digest for way in ways}) == 1
  assert [way.form for way in ways] == ["binary", "binary", "binary archive"]
  assert all("different SHA-1: " in way.notes[0] and "accepted by data.checksum=any" in way.notes[0] for way in ways)


def test_other_files_than_the_published_ones(name, folder, tmp_path):
  family = small(name)
  packed = archive(tmp_path / "mine.tar.gz", made(name))
  for path in (folder, packed):
    with pytest.raises(ConfigError, match=f"different SHA-1: {family.files[0].name}.bin, ") as error:
      load(Data(name=name, path=str(path)))
    assert "data.checksum=any" in str(error.value)


def test_published_files_need_no_note(name, folder, monkeypatch):
  family, contents = small(name), made(name)
  files = tuple(
    dataclasses.replace(file, checksums={"sha1": hashlib.sha1(content).hexdigest()})
    for file, content in zip(family.files, contents.values(), strict=True)
  )
  monkeypatch.setitem(FAMILIES, name, dataclasses.replace(family, files=files))
  assert load(Data(name=name, path=str(folder))).notes == ()


def expect(data, message):
  with pytest.raises(ConfigError, match=message) as error:
    load(data)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_bad_folders(name, folder, tmp_path):
  data, family = Data(name=name, path=str(folder), checksum="any"), small(name)
  path = folder / family.binary.folder / family.binary.file(family.files[-1])
  good, record = path.read_bytes(), family.record
  path.write_bytes(good[:-1])
  assert str(path) in expect(data, rf": {len(good) - 1:,} bytes, must be {len(good):,}")
  path.write_bytes(good + b"x")
  expect(data, rf": {len(good) + 1:,} bytes, must be {len(good):,}")
  path.write_bytes(good[: 2 * record] + b"\xc8" + good[2 * record + 1 :])
  label, values = next(iter(family.labels.items()))
  assert path.stem in expect(data, rf"record 2 has {label} 200, must be 0 to {values - 1}")
  path.unlink()
  assert str(path) in expect(data, "missing")
  path.mkdir()
  assert str(path) in expect(data, "missing")
  (tmp_path / "empty").mkdir()
  message = expect(Data(name=name, path=str(tmp_path / "empty")), "contains neither")
  assert family.binary.archive in message
  assert family.binary.folder in message
  expect(Data(name=name, path=str(tmp_path / "none")), "no such file or folder")


def test_bad_archives(name, tmp_path):
  family, contents = small(name), made(name)
  path = archive(tmp_path / family.binary.archive, contents)
  data = Data(name=name, path=str(tmp_path), checksum="any")
  good = path.read_bytes()
  flipped = bytearray(good)
  flipped[len(good) // 2] ^= 1
  for damaged in (b"", b"<!DOCTYPE html>", gzip.compress(b"no tar"), good[: len(good) // 2], good[:-4], bytes(flipped)):
    path.write_bytes(damaged)
    assert expect(data, "not a complete .tar.gz").startswith(f"{path}: ")
  member, content = list(contents.items())[-1]
  archive(path, contents | {member: content[:-5]})
  assert f"{path}: {member}: " in expect(data, f"{len(content) - 5:,} bytes, must be {len(content):,}")
  archive(path, {name: content for name, content in contents.items() if name != member})
  expect(data, f"has no {member}")


def test_members_are_not_written(name, tmp_path, monkeypatch):
  family = small(name)
  outside = {"../../escaped": b"x", "/escaped": b"x"}
  (tmp_path / "in").mkdir()
  path = archive(tmp_path / "in" / family.binary.archive, outside | made(name))
  monkeypatch.chdir(tmp_path / "in")
  load(Data(name=name, path=str(path), checksum="any"))
  assert [str(found.relative_to(tmp_path)) for found in tmp_path.rglob("*")] == ["in", f"in/{family.binary.archive}"]


def test_links_are_not_followed(name, tmp_path):
  family, contents = small(name), made(name)
  member = next(iter(contents))
  with tarfile.open(tmp_path / family.binary.archive, "w:gz") as tar:
    link = tarfile.TarInfo(member)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar.addfile(link)
  expect(Data(name=name, path=str(tmp_path), checksum="any"), f"has no {member}|not a complete .tar.gz")


@pytest.mark.skipif("RESJAX_CIFAR10" not in os.environ, reason="RESJAX_CIFAR10 does not name a folder with CIFAR-10")
def test_real_cifar10():
  found = load(Data(path=os.environ["RESJAX_CIFAR10"], checksum="any"))
  assert found.train_images.shape == (50_000, 32, 32, 3)
  np.testing.assert_array_equal(np.bincount(found.train_labels), np.full(10, 5000))
  np.testing.assert_array_equal(np.bincount(found.test_labels), np.full(10, 1000))
  # The channel means every CIFAR-10 recipe quotes, to their four digits.
  mean = found.train_images.mean(axis=(0, 1, 2)) / 255
  np.testing.assert_allclose(mean, (0.4914, 0.4822, 0.4465), atol=5e-5)
