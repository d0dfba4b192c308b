"""CIFAR files of a few made-up records, in the forms they are found in, for tests; made of real records, too."""

import dataclasses
import io
import pickle
import struct
import tarfile
from typing import ClassVar

import numpy as np

from resjax.data.cifar_format import FAMILIES, File


def small(name):
  """One of the families with files of a few records; the checksums are those of the real files, so they differ."""
  family = FAMILIES[name]
  files = tuple(File(file.name, file.split, 6 + i, file.checksums) for i, file in enumerate(family.files))
  return dataclasses.replace(family, files=files)


def made(name):
  """Contents of such binary files, with random pixels, the first record of each file labelled with the last class."""
  family, rng, contents = small(name), np.random.default_rng(1), {}
  for file, member in zip(family.files, family.members(family.binary), strict=True):
    pixels = rng.integers(0, 256, (file.records, 3072), np.uint8)
    labels = np.stack([(np.arange(file.records) - 1) % values for values in family.labels.values()], axis=1)
    contents[member] = np.concatenate([labels.astype(np.uint8), pixels], axis=1).tobytes()
  return contents


def archive(path, contents):
  """Writes a .tar.gz with the given members."""
  with tarfile.open(path, "w:gz", compresslevel=1) as tar:
    for name, content in contents.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))
  return path


def unpacked(path, contents):
  """Writes the members as files below a folder."""
  for member, content in contents.items():
    (path / member).parent.mkdir(parents=True, exist_ok=True)
    (path / member).write_bytes(content)
  return path


def label_names(name):
  """Ensemble with the names of the labels."""
  family = FAMILIES[name]
  return {
    member: "".join(f"{label}{i}\n" for i in range(family.labels[label])).encode()
    for label, member in family.names.items()
  }


class Python2Pickler(pickle._Pickler):
  """Writes bytes as Python 2 wrote its strings, and numpy's function under the name it had then."""

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


def pickled(value):
  """Returns a pickle as Python 2's cPickle wrote it, protocol 2."""
  content = io.BytesIO()
  Python2Pickler(content, 2).dump(value)
  return content.getvalue()


def columns(name, contents, family):
  """Returns each file's pixels, uint8 [N, 3072], and labels by name, from the contents of the binary files."""
  read = {}
  for file, content in zip(family.files, contents.values(), strict=True):
    rows = np.frombuffer(content, np.uint8).reshape(file.records, -1)
    read[file.name] = (
      np.ascontiguousarray(rows[:, len(family.labels) :]),
      dict(zip(family.labels, rows.T, strict=False)),
    )
  return read


def as_python(name, contents, family):
  """Returns the members of the Python version with the same images, from the contents of the binary files."""
  members = {}
  for file, (pixels, labels) in columns(name, contents, family).items():
    keys = {"label": b"labels"} if name == "cifar10" else {"label": b"fine_labels", "coarse_label": b"coarse_labels"}
    members[f"{family.python.folder}/{file}"] = pickled(
      {
        b"batch_label": b"a batch",
        **{key: labels[label].tolist() for label, key in keys.items()},
        b"data": pixels,
        b"filenames": [b"%d.png" % i for i in range(len(pixels))],
      }
    )
  return members


def arrays(name, contents, family):
  """Returns each split's images, uint8 [N, 32, 32, 3], and labels by name."""
  read = columns(name, contents, family)
  splits = {}
  for split in ("train", "test"):
    parts = [read[file.name] for file in family.files if file.split == split]
    pixels = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    splits[split] = pixels, {label: np.concatenate([labels[label] for _, labels in parts]) for label in family.labels}
  return splits


def png(image):
  """Returns an image as the bytes of a PNG file."""
  from PIL import Image

  content = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(image)).save(content, "PNG", compress_level=1)
  return content.getvalue()


def as_parquet(path, name, contents, family, image="img"):
  """Writes Parquet files with the columns that the Hugging Face repositories have; the training set in two files."""
  import pyarrow as pa
  import pyarrow.parquet as pq

  path.mkdir(parents=True, exist_ok=True)
  names = {"label": "label"} if name == "cifar10" else {"label": "fine_label", "coarse_label": "coarse_label"}
  for split, (images, labels) in arrays(name, contents, family).items():
    files = [{"bytes": png(each), "path": None} for each in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
      {image: pa.array(files, kind), **{theirs: labels[ours].astype(np.int64) for ours, theirs in names.items()}}
    )
    parts = 2 if split == "train" else 1
    half = -(-len(images) // parts)
    for i in range(parts):
      pq.write_table(table.slice(i * half, half), path / f"{split}-{i:05d}-of-{parts:05d}.parquet")
  return path
