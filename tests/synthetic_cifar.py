"""CIFAR files of a few random records in all published forms; the forms can also be written from real records.

In this module, `contents` are the contents of files by their path in an archive, and `family` describes a data set.
"""

import dataclasses
import io
import pickle
import struct
import tarfile
from typing import ClassVar

import numpy as np
import pytest

from resjax.config import Data
from resjax.data import load
from resjax.data.cifar_format import FAMILIES, File
from resjax.settings import ConfigError


def load_error(data: Data, message: str) -> str:
  """Returns the error of loading a data set, which must be one line and match the regular expression `message`."""
  with pytest.raises(ConfigError, match=message) as error:
    load(data)
  assert "\n" not in str(error.value)
  return str(error.value)


def small_family(name):
  """Returns the description of a data set ("cifar10" or "cifar100") with a few records per file.

  The checksums are still those of the published files, so the random files violate them.
  """
  family = FAMILIES[name]
  files = tuple(File(file.name, file.split, 6 + i, file.checksums) for i, file in enumerate(family.files))
  return dataclasses.replace(family, files=files)


def binary_contents(name):
  """Returns the contents of the binary files of a small data set.

  Pixels are random, and the label of the first record of each file is the last class.
  """
  family, rng, contents = small_family(name), np.random.default_rng(1), {}
  for file, member in zip(family.files, family.members(family.binary), strict=True):
    pixels = rng.integers(0, 256, (file.records, 3072), np.uint8)
    labels = np.stack([(np.arange(file.records) - 1) % values for values in family.labels.values()], axis=1)
    contents[member] = np.concatenate([labels.astype(np.uint8), pixels], axis=1).tobytes()
  return contents


def write_archive(path, contents):
  """Writes contents as a .tar.gz file and returns its path."""
  with tarfile.open(path, "w:gz", compresslevel=1) as tar:
    for name, content in contents.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))
  return path


def write_files(path, contents):
  """Writes contents as files below a folder and returns its path."""
  for member, content in contents.items():
    (path / member).parent.mkdir(parents=True, exist_ok=True)
    (path / member).write_bytes(content)
  return path


def label_name_contents(name):
  """Returns the contents of the files that list the names of the labels."""
  family = FAMILIES[name]
  return {
    member: "".join(f"{label}{i}\n" for i in range(family.labels[label])).encode()
    for label, member in family.names.items()
  }


class Python2Pickler(pickle._Pickler):
  """Pickles bytes as Python 2 pickled its strings, and refers to functions of NumPy by their names of that time."""

  dispatch: ClassVar = dict(pickle._Pickler.dispatch)

  def save_bytes(self, value):
    size = struct.pack("<B", len(value)) if len(value) < 256 else struct.pack("<i", len(value))
    self.write((pickle.SHORT_BINSTRING if len(value) < 256 else pickle.BINSTRING) + size + value)
    self.memoize(value)

  def save_text(self, value):
    self.save_bytes(value.encode("latin1"))

  def save_global(self, value, name=None):
    module = value.__module__.replace("numpy._core", "numpy.core")
    self.write(pickle.GLOBAL + f"{module}\n{name or value.__qualname__}\n".encode())
    self.memoize(value)

  dispatch[bytes] = save_bytes
  dispatch[str] = save_text
  dispatch[type] = dispatch[type(save_text)] = dispatch[type(len)] = save_global


def python2_pickle(value):
  """Returns a pickle of protocol 2 as cPickle of Python 2 wrote it."""
  content = io.BytesIO()
  Python2Pickler(content, 2).dump(value)
  return content.getvalue()


def columns(name, contents, family):
  """Splits the records of the binary files; returns for each file its pixels, uint8 [N, 3072], and labels by name."""
  read = {}
  for file, content in zip(family.files, contents.values(), strict=True):
    rows = np.frombuffer(content, np.uint8).reshape(file.records, -1)
    read[file.name] = (
      np.ascontiguousarray(rows[:, len(family.labels) :]),
      dict(zip(family.labels, rows.T, strict=False)),
    )
  return read


def python_contents(name, contents, family):
  """Converts the contents of the binary version to those of the Python version."""
  members = {}
  for file, (pixels, labels) in columns(name, contents, family).items():
    keys = {"label": b"labels"} if name == "cifar10" else {"label": b"fine_labels", "coarse_label": b"coarse_labels"}
    members[f"{family.python.folder}/{file}"] = python2_pickle(
      {
        b"batch_label": b"a batch",
        **{key: labels[label].tolist() for label, key in keys.items()},
        b"data": pixels,
        b"filenames": [b"%d.png" % i for i in range(len(pixels))],
      }
    )
  return members


def arrays(name, contents, family):
  """Returns the images of each split, uint8 [N, 32, 32, 3], and their labels by name, from the binary version."""
  read = columns(name, contents, family)
  splits = {}
  for split in ("train", "test"):
    parts = [read[file.name] for file in family.files if file.split == split]
    pixels = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    splits[split] = pixels, {label: np.concatenate([labels[label] for _, labels in parts]) for label in family.labels}
  return splits


def encode_png(image):
  """Returns the bytes of a PNG file with an image, uint8 [height, width] or [height, width, 3]."""
  from PIL import Image

  content = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(image)).save(content, "PNG", compress_level=1)
  return content.getvalue()


def write_parquet(path, name, contents, family, image="img"):
  """Writes the Parquet files of the repositories on Hugging Face, from the binary version, and returns their folder.

  Args:
    path: Folder of the files, of which two contain the training set.
    name: "cifar10" or "cifar100".
    contents: Contents of the binary files.
    family: Description of the data set.
    image: Name of the column of images.
  """
  import pyarrow as pa
  import pyarrow.parquet as pq

  path.mkdir(parents=True, exist_ok=True)
  names = {"label": "label"} if name == "cifar10" else {"label": "fine_label", "coarse_label": "coarse_label"}
  for split, (images, labels) in arrays(name, contents, family).items():
    files = [{"bytes": encode_png(each), "path": None} for each in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
      {image: pa.array(files, kind), **{theirs: labels[ours].astype(np.int64) for ours, theirs in names.items()}}
    )
    parts = 2 if split == "train" else 1
    half = -(-len(images) // parts)
    for i in range(parts):
      pq.write_table(table.slice(i * half, half), path / f"{split}-{i:05d}-of-{parts:05d}.parquet")
  return path
