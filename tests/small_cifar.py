"""CIFAR files of a few made-up records, for tests."""

import dataclasses
import io
import tarfile

import numpy as np

from resjax.data.cifar_format import FAMILIES, File


def small(name):
  """One of the families with files of a few records; the SHA-1 sums are those of the real files, so they differ."""
  family = FAMILIES[name]
  files = tuple(File(file.name, file.split, 6 + i, file.sha1) for i, file in enumerate(family.files))
  return dataclasses.replace(family, files=files)


def made(name):
  """Contents of such files, with random pixels, the first record of each file labelled with the last class."""
  family, rng, contents = small(name), np.random.default_rng(1), {}
  for file, member in zip(family.files, family.members, strict=True):
    pixels = rng.integers(0, 256, (file.records, 3072), np.uint8)
    labels = np.stack([(np.arange(file.records) - 1) % values for values in family.labels.values()], axis=1)
    contents[member] = np.concatenate([labels.astype(np.uint8), pixels], axis=1).tobytes()
  return contents


def archive(path, contents):
  """Writes a .tar.gz with the given members."""
  with tarfile.open(path, "w:gz") as tar:
    for name, content in contents.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))
  return path


def label_names(name):
  """Members with the names of the labels."""
  family = FAMILIES[name]
  return {
    member: "".join(f"{label}{i}\n" for i in range(family.labels[label])).encode()
    for label, member in family.names.items()
  }
