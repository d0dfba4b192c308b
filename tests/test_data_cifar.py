"""The binary version of CIFAR: record format, checksums and damaged files, on small files; and the real CIFAR-10."""

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
from tests.synthetic_cifar import binary_contents, load_error, small_family, write_archive, write_files


@pytest.fixture
def name(small_cifar):
  return small_cifar


@pytest.fixture
def folder(name, tmp_path):
  """Returns a folder with the files of the binary version."""
  return write_files(tmp_path, binary_contents(name))


def test_sizes_of_the_published_files():
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


def test_labels_and_pixels_are_at_their_bytes(name, folder):
  """The positions of the bytes follow from the description of the format."""
  found, family, contents = (
    load(Data(name=name, path=str(folder), checksum="any")),
    small_family(name),
    binary_contents(name),
  )
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


def test_folder_and_archive_have_the_same_digest(name, folder, tmp_path):
  family = small_family(name)
  packed = write_archive(
    tmp_path / family.binary.archive, {f"./{member}": content for member, content in binary_contents(name).items()}
  )
  paths = folder, folder / family.binary.folder, packed
  loaded = [load(Data(name=name, path=str(path), checksum="any")) for path in paths]
  assert len({each.digest for each in loaded}) == 1
  assert [each.form for each in loaded] == ["binary", "binary", "binary archive"]
  notes = [each.notes[0] for each in loaded]
  assert all("different SHA-1: " in note and "accepted by data.checksum=any" in note for note in notes)


def test_files_that_are_not_the_published_ones_are_refused(name, folder, tmp_path):
  family = small_family(name)
  packed = write_archive(tmp_path / "mine.tar.gz", binary_contents(name))
  for path in (folder, packed):
    with pytest.raises(ConfigError, match=f"different SHA-1: {family.files[0].name}.bin, ") as error:
      load(Data(name=name, path=str(path)))
    assert "data.checksum=any" in str(error.value)


def test_published_files_need_no_note(name, folder, monkeypatch):
  family, contents = small_family(name), binary_contents(name)
  files = tuple(
    dataclasses.replace(file, checksums={"sha1": hashlib.sha1(content).hexdigest()})
    for file, content in zip(family.files, contents.values(), strict=True)
  )
  monkeypatch.setitem(FAMILIES, name, dataclasses.replace(family, files=files))
  assert load(Data(name=name, path=str(folder))).notes == ()


def test_missing_and_damaged_files_are_named(name, folder, tmp_path):
  data, family = Data(name=name, path=str(folder), checksum="any"), small_family(name)
  path = folder / family.binary.folder / family.binary.file(family.files[-1])
  good, record = path.read_bytes(), family.record
  path.write_bytes(good[:-1])
  assert str(path) in load_error(data, rf": {len(good) - 1:,} bytes, must be {len(good):,}")
  path.write_bytes(good + b"x")
  load_error(data, rf": {len(good) + 1:,} bytes, must be {len(good):,}")
  path.write_bytes(good[: 2 * record] + b"\xc8" + good[2 * record + 1 :])
  label, values = next(iter(family.labels.items()))
  assert path.stem in load_error(data, rf"record 2 has {label} 200, must be 0 to {values - 1}")
  path.unlink()
  assert str(path) in load_error(data, "missing")
  path.mkdir()
  assert str(path) in load_error(data, "missing")
  (tmp_path / "empty").mkdir()
  message = load_error(Data(name=name, path=str(tmp_path / "empty")), "contains neither")
  assert family.binary.archive in message
  assert family.binary.folder in message
  load_error(Data(name=name, path=str(tmp_path / "none")), "no such file or folder")


def test_damaged_archives_are_named(name, tmp_path):
  family, contents = small_family(name), binary_contents(name)
  path = write_archive(tmp_path / family.binary.archive, contents)
  data = Data(name=name, path=str(tmp_path), checksum="any")
  good = path.read_bytes()
  flipped = bytearray(good)
  flipped[len(good) // 2] ^= 1
  for damaged in (b"", b"<!DOCTYPE html>", gzip.compress(b"no tar"), good[: len(good) // 2], good[:-4], bytes(flipped)):
    path.write_bytes(damaged)
    assert load_error(data, "not a complete .tar.gz").startswith(f"{path}: ")
  member, content = list(contents.items())[-1]
  write_archive(path, contents | {member: content[:-5]})
  assert f"{path}: {member}: " in load_error(data, f"{len(content) - 5:,} bytes, must be {len(content):,}")
  write_archive(path, {name: content for name, content in contents.items() if name != member})
  load_error(data, f"has no {member}")


def test_members_of_an_archive_are_not_written_to_disk(name, tmp_path, monkeypatch):
  family = small_family(name)
  outside = {"../../escaped": b"x", "/escaped": b"x"}
  (tmp_path / "in").mkdir()
  path = write_archive(tmp_path / "in" / family.binary.archive, outside | binary_contents(name))
  monkeypatch.chdir(tmp_path / "in")
  load(Data(name=name, path=str(path), checksum="any"))
  assert [str(found.relative_to(tmp_path)) for found in tmp_path.rglob("*")] == ["in", f"in/{family.binary.archive}"]


def test_links_in_an_archive_are_not_followed(name, tmp_path):
  family, contents = small_family(name), binary_contents(name)
  member = next(iter(contents))
  with tarfile.open(tmp_path / family.binary.archive, "w:gz") as tar:
    link = tarfile.TarInfo(member)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar.addfile(link)
  load_error(Data(name=name, path=str(tmp_path), checksum="any"), f"has no {member}|not a complete .tar.gz")


@pytest.mark.skipif("RESJAX_CIFAR10" not in os.environ, reason="RESJAX_CIFAR10 does not name a folder with CIFAR-10")
def test_the_real_cifar10_has_the_published_classes_and_means():
  found = load(Data(path=os.environ["RESJAX_CIFAR10"], checksum="any"))
  assert found.train_images.shape == (50_000, 32, 32, 3)
  np.testing.assert_array_equal(np.bincount(found.train_labels), np.full(10, 5000))
  np.testing.assert_array_equal(np.bincount(found.test_labels), np.full(10, 1000))
  # The channel means that recipes for CIFAR-10 quote, to four digits.
  mean = found.train_images.mean(axis=(0, 1, 2)) / 255
  np.testing.assert_allclose(mean, (0.4914, 0.4822, 0.4465), atol=5e-5)
