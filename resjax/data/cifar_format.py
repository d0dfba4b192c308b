"""Published files of CIFAR-10 and CIFAR-100, and the format of the records in their binary version."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from resjax.data.dataset import Images, Source
from resjax.settings import ConfigError

SHAPE = (32, 32, 3)  # height, width, channels


@dataclasses.dataclass(frozen=True)
class File:
  """A file of records.

  Attributes:
    name: Name without suffix, the same in the binary and the Python version.
    split: "train" or "test".
    records: Number of records.
    checksums: Checksums of the published file by hash function: SHA-1 of the binary version, as listed by Apache MXNet,
      and MD5 of the Python version, as listed by torchvision.
  """

  name: str
  split: str
  records: int
  checksums: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Version:
  """One of the two archives in which a data set is published.

  Attributes:
    name: "binary" or "python".
    archive: File name of the archive.
    folder: Folder within the archive.
    suffix: Suffix of the files of records.
    hash: Hash function of the published checksums, as named in hashlib.
  """

  name: str
  archive: str
  folder: str
  suffix: str
  hash: str

  def file(self, file: File) -> str:
    """Returns the file name of a file of records in this version."""
    return f"{file.name}{self.suffix}"


@dataclasses.dataclass(frozen=True)
class Family:
  """One of the two data sets.

  Attributes:
    title: Name of the data set.
    homepage: URL of its description.
    url: URL of the binary archive.
    binary: The binary version.
    python: The Python version.
    files: Files of records, in order.
    labels: Number of values of each label of a record, in the order of the record; `label` is the class.
    keys: Key of each label in the files of the Python version.
    names: Member of the binary archive that lists the names of each label's values.
  """

  title: str
  homepage: str
  url: str
  binary: Version
  python: Version
  files: tuple[File, ...]
  labels: Mapping[str, int]
  keys: Mapping[str, bytes]
  names: Mapping[str, str]

  @property
  def versions(self) -> tuple[Version, Version]:
    """The binary and the Python version."""
    return self.binary, self.python

  @property
  def record(self) -> int:
    """Size of a record in bytes: one byte per label, then 1024 pixels each of red, green and blue, row by row."""
    return len(self.labels) + math.prod(SHAPE)

  def members(self, version: Version) -> dict[str, int | None]:
    """Returns the size in bytes of each file of records in an archive, by member name; None where it is not fixed."""
    fixed = version is self.binary
    return {
      f"{version.folder}/{version.file(file)}": file.records * self.record if fixed else None for file in self.files
    }

  def images(self, split: str) -> int:
    """Returns the number of images of a split."""
    return sum(file.records for file in self.files if file.split == split)


def _file(name: str, split: str, records: int, sha1: str, md5: str) -> File:
  return File(name, split, records, {"sha1": sha1, "md5": md5})


_HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
FAMILIES = {
  "cifar10": Family(
    title="CIFAR-10",
    homepage=_HOMEPAGE,
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    binary=Version("binary", "cifar-10-binary.tar.gz", "cifar-10-batches-bin", ".bin", "sha1"),
    python=Version("python", "cifar-10-python.tar.gz", "cifar-10-batches-py", "", "md5"),
    files=tuple(
      _file(name, "test" if name == "test_batch" else "train", 10_000, sha1, md5)
      for name, sha1, md5 in (
        ("data_batch_1", "aadd24acce27caa71bf4b10992e9e7b2d74c2540", "c99cafc152244af753f735de768cd75f"),
        ("data_batch_2", "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795", "d4bba439e000b95fd0a9bffe97cbabec"),
        ("data_batch_3", "1dd00a74ab1d17a6e7d73e185b69dbf31242f295", "54ebc095f3ab1f0389bbae665268c751"),
        ("data_batch_4", "aab85764eb3584312d3c7f65fd2fd016e36a258e", "634d18415352ddfa80567beed471001a"),
        ("data_batch_5", "26e2849e66a845b7f1e4614ae70f4889ae604628", "482c414d41f54cd18b22e5b47cb7c3cb"),
        ("test_batch", "67eb016db431130d61cd03c7ad570b013799c88c", "40351d587109b95175f43aff81a1287e"),
      )
    ),
    labels={"label": 10},
    keys={"label": b"labels"},
    names={"label": "cifar-10-batches-bin/batches.meta.txt"},
  ),
  "cifar100": Family(
    title="CIFAR-100",
    homepage=_HOMEPAGE,
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    binary=Version("binary", "cifar-100-binary.tar.gz", "cifar-100-binary", ".bin", "sha1"),
    python=Version("python", "cifar-100-python.tar.gz", "cifar-100-python", "", "md5"),
    files=(
      _file("train", "train", 50_000, "e207cd2e05b73b1393c74c7f5e7bea451d63e08e", "16019d7e3df5f24257cddd939b257f8d"),
      _file("test", "test", 10_000, "8fb6623e830365ff53cf14adec797474f5478006", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ),
    labels={"coarse_label": 20, "label": 100},
    keys={"coarse_label": b"coarse_labels", "label": b"fine_labels"},
    names={
      "coarse_label": "cifar-100-binary/coarse_label_names.txt",
      "label": "cifar-100-binary/fine_label_names.txt",
    },
  ),
}


def join_records(labels: np.ndarray, pixels: np.ndarray) -> bytes:
  """Returns records in the format of the binary version.

  Args:
    labels: Labels, uint8 [N, labels].
    pixels: Pixels, uint8 [N, 3072], 1024 each of red, green and blue.
  """
  return np.concatenate([labels, pixels], axis=1).tobytes()


def records(contents: Mapping[str, bytes], family: Family, path: str) -> Iterator[tuple[File, np.ndarray, np.ndarray]]:
  """Yields each file with its labels, uint8 [N, labels], and its images, uint8 [N, 32, 32, 3].

  Args:
    contents: Contents of the binary files, of checked size, by name without suffix.
    family: The data set.
    path: Path to name in an error message.

  Raises:
    ConfigError: A label is out of range; the message names `path` and the file.
  """
  for file in family.files:
    rows = np.frombuffer(contents[file.name], np.uint8).reshape(file.records, family.record)
    labels = rows[:, : len(family.labels)]
    for column, (name, values) in zip(labels.T, family.labels.items(), strict=True):
      wrong = np.flatnonzero(column >= values)
      if len(wrong):
        raise ConfigError(
          f"{path}: {file.name}: record {wrong[0]} has {name} {column[wrong[0]]}, must be 0 to {values - 1}"
        )
    height, width, channels = SHAPE
    yield file, labels, rows[:, len(family.labels) :].reshape(-1, channels, height, width).transpose(0, 2, 3, 1)


def parse(contents: Mapping[str, bytes], family: Family, path: str, form: str, notes: tuple[str, ...]) -> Source:
  """Returns the images and classes of all files.

  Args:
    contents: Contents of the binary files, of checked size, by name without suffix.
    family: The data set.
    path: Path of the data set, also named in error messages.
    form: Storage format of the data set.
    notes: Sentences for the record of a run.

  Raises:
    ConfigError: A label is out of range; the message names `path` and the file.
  """
  column = list(family.labels).index("label")
  splits = {
    split: Images(np.empty((family.images(split), *SHAPE), np.uint8), np.empty(family.images(split), np.int32))
    for split in ("train", "test")
  }
  filled = dict.fromkeys(splits, 0)
  for file, labels, images in records(contents, family, path):
    place = slice(filled[file.split], filled[file.split] + file.records)
    splits[file.split].images[place] = images
    splits[file.split].labels[place] = labels[:, column]
    filled[file.split] += file.records
  return Source(splits["train"], splits["test"], family.labels["label"], path, form, notes)
