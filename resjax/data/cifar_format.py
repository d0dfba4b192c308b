"""The binary form of CIFAR-10 and CIFAR-100: which files there are, and how records lie in them."""

import dataclasses
import gzip
import math
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from resjax.data.dataset import Images, Source
from resjax.settings import ConfigError

SHAPE = (32, 32, 3)  # height, width, channels


@dataclasses.dataclass(frozen=True)
class File:
  """A file of records.

  Attributes:
    name: within the folder of the archive.
    split: "train" or "test".
    records: how many.
    sha1: SHA-1 of the published file, as Apache MXNet lists it; `cifar_tfds` has the archive's.
  """

  name: str
  split: str
  records: int
  sha1: str


@dataclasses.dataclass(frozen=True)
class Family:
  """One of the two data sets.

  Attributes:
    homepage: where it is described.
    url: where the archive is published.
    archive: the archive's name.
    folder: the folder within the archive.
    files: the files of records, in order.
    labels: the labels a record starts with, one byte each, and the number of their values. `label` is the class.
    names: for each of them the member of the archive with the names of its values.
  """

  homepage: str
  url: str
  archive: str
  folder: str
  files: tuple[File, ...]
  labels: Mapping[str, int]
  names: Mapping[str, str]

  @property
  def record(self) -> int:
    """Bytes of a record: the labels, then 1024 pixels each of red, green and blue, row by row."""
    return len(self.labels) + math.prod(SHAPE)

  @property
  def members(self) -> dict[str, int]:
    """The files of records within the archive, and the bytes of each."""
    return {f"{self.folder}/{file.name}": file.records * self.record for file in self.files}

  def images(self, split: str) -> int:
    """Returns how many images a split has."""
    return sum(file.records for file in self.files if file.split == split)


FAMILIES = {
  "cifar10": Family(
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    archive="cifar-10-binary.tar.gz",
    folder="cifar-10-batches-bin",
    files=(
      File("data_batch_1.bin", "train", 10_000, "aadd24acce27caa71bf4b10992e9e7b2d74c2540"),
      File("data_batch_2.bin", "train", 10_000, "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795"),
      File("data_batch_3.bin", "train", 10_000, "1dd00a74ab1d17a6e7d73e185b69dbf31242f295"),
      File("data_batch_4.bin", "train", 10_000, "aab85764eb3584312d3c7f65fd2fd016e36a258e"),
      File("data_batch_5.bin", "train", 10_000, "26e2849e66a845b7f1e4614ae70f4889ae604628"),
      File("test_batch.bin", "test", 10_000, "67eb016db431130d61cd03c7ad570b013799c88c"),
    ),
    labels={"label": 10},
    names={"label": "cifar-10-batches-bin/batches.meta.txt"},
  ),
  "cifar100": Family(
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    archive="cifar-100-binary.tar.gz",
    folder="cifar-100-binary",
    files=(
      File("train.bin", "train", 50_000, "e207cd2e05b73b1393c74c7f5e7bea451d63e08e"),
      File("test.bin", "test", 10_000, "8fb6623e830365ff53cf14adec797474f5478006"),
    ),
    labels={"coarse_label": 20, "label": 100},
    names={
      "coarse_label": "cifar-100-binary/coarse_label_names.txt",
      "label": "cifar-100-binary/fine_label_names.txt",
    },
  ),
}


def unpack(path: Path, sizes: Mapping[str, int | None]) -> dict[str, bytes]:
  """Returns the bytes of some members of a .tar.gz, by name. Nothing is written to disk.

  The archive is read to its end, where gzip keeps its own checksum.

  Args:
    path: the archive.
    sizes: the members wanted, and the bytes each must have; None for any.

  Raises:
    ConfigError: it is not a .tar.gz, is damaged or cut short, or a member is missing or has the wrong size.
  """
  contents = {}
  try:
    with gzip.open(path) as raw:
      with tarfile.open(fileobj=raw, mode="r|") as archive:
        for member in archive:
          name = member.name.removeprefix("./")
          stream = archive.extractfile(member)  # none for folders and links out of the archive
          if name in sizes and stream is not None:
            check_size(f"{path}: {name}", member.size, sizes[name])
            contents[name] = stream.read()
      while raw.read(1 << 20):
        pass
  except ConfigError:
    raise
  except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
    raise ConfigError(f"{path}: not a whole .tar.gz ({error})") from None
  missing = [name for name in sizes if name not in contents]
  if missing:
    raise ConfigError(f"{path}: has no {missing[0]}")
  return contents


def check_size(file: str, size: int, expected: int | None) -> None:
  """Raises ConfigError if a file has not the bytes it must have."""
  if expected is not None and size != expected:
    raise ConfigError(f"{file}: {size:,} bytes, must be {expected:,}")


def records(contents: Mapping[str, bytes], family: Family, path: str) -> Iterator[tuple[File, np.ndarray, np.ndarray]]:
  """Yields each file's labels, uint8 [N, labels], and images, uint8 [N, 32, 32, 3]. The sizes have been checked.

  Raises:
    ConfigError: a label is none of its classes; names `path` and the file.
  """
  for file, member in zip(family.files, family.members, strict=True):
    rows = np.frombuffer(contents[member], np.uint8).reshape(file.records, family.record)
    labels = rows[:, : len(family.labels)]
    for column, (name, values) in zip(labels.T, family.labels.items(), strict=True):
      wrong = np.flatnonzero(column >= values)
      if len(wrong):
        raise ConfigError(
          f"{path}: {file.name}: record {wrong[0]} has {name} {column[wrong[0]]}, must be 0 to {values - 1}"
        )
    height, width, channels = SHAPE
    yield file, labels, rows[:, len(family.labels) :].reshape(-1, channels, height, width).transpose(0, 2, 3, 1)


def parse(contents: Mapping[str, bytes], family: Family, path: str, notes: tuple[str, ...]) -> Source:
  """Returns the images and classes of all files.

  Raises:
    ConfigError: as `records`.
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
  return Source(splits["train"], splits["test"], family.labels["label"], path, notes)
