"""CIFAR-10 and CIFAR-100 in their binary form: which files there are, how records lie in them, where to look for them.

Images keep the order of the published files, whichever way they come: through tensorflow-datasets (`cifar_tfds`) or
straight from local files. So the same images give the same digest and the same runs.
"""

import dataclasses
import gzip
import hashlib
import math
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from resjax.config import Data
from resjax.data.dataset import Description, Images, Source
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


def describe(data: Data) -> Description:
  """Describes the set; see `resjax.data.describe`."""
  family = FAMILIES[data.name]
  return Description(SHAPE, family.labels["label"], family.images("train"), family.images("test"))


def load(data: Data) -> Source:
  """Reads CIFAR from where `data.path` points, or downloads it.

  The published archive, local or downloaded, goes through tensorflow-datasets. Unpacked files, and an archive that is
  not the published one but allowed by `data.checksum`, are read directly.

  Raises:
    ConfigError: nothing is found, a file is not the published one, or not what it should be.
  """
  family = FAMILIES[data.name]
  found = find(Path(data.path).expanduser(), family) if data.path else None
  if found is not None and found.is_dir():
    contents = read_folder(found, family)
    difference = folder_difference(contents, family)
    check_accepted(found, difference, data)
  else:
    from resjax.data import cifar_tfds  # slow to import, and needed for archives alone

    difference = cifar_tfds.archive_difference(found, family) if found else ""
    if found is None or not difference:
      return cifar_tfds.load(data.name, family, found)
    check_accepted(found, difference, data)
    contents = unpack(found, family.members)
  notes = (f"{found}: not the published files ({difference}), accepted by data.checksum=any",) if difference else ()
  return parse(contents, family, str(found), notes)


def find(path: Path, family: Family) -> Path:
  """Returns the folder with the .bin files, or else the archive, that `path` is or holds.

  Raises:
    ConfigError: there is neither.
  """
  if path.is_file():
    return path
  if not path.exists():
    raise ConfigError(f"data.path = {str(path)!r}: no such file or folder")
  for folder in (path / family.folder, path):
    if any((folder / file.name).exists() for file in family.files):
      return folder
  if (path / family.archive).is_file():
    return path / family.archive
  raise ConfigError(f"data.path = {str(path)!r}: holds neither {family.archive} nor {family.folder}")


def check_accepted(found: Path, difference: str, data: Data) -> None:
  """Raises ConfigError if what was found differs from the published files and `data.checksum` wants those."""
  if difference and data.checksum == "published":
    raise ConfigError(f"{found}: not the published files ({difference}); to use them all the same: data.checksum=any")


def read_folder(folder: Path, family: Family) -> dict[str, bytes]:
  """Returns the bytes of the files of records, by their name within the archive.

  Raises:
    ConfigError: a file is missing, has the wrong size or cannot be read.
  """
  contents = {}
  for name, size in family.members.items():
    path = folder / Path(name).name
    if not path.is_file():
      raise ConfigError(f"{path}: missing")
    try:
      check_size(str(path), path.stat().st_size, size)
      contents[name] = path.read_bytes()
    except OSError as error:
      raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
  return contents


def folder_difference(contents: Mapping[str, bytes], family: Family) -> str:
  """Returns which files of records are not the published ones, or nothing."""
  # SHA-1 is what is published; it is used against damage and mix-ups here, not against an attacker.
  pairs = zip(family.files, family.members, strict=True)
  changed = [file.name for file, name in pairs if hashlib.sha1(contents[name]).hexdigest() != file.sha1]
  return f"other SHA-1: {', '.join(changed)}" if changed else ""


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
