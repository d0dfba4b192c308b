"""CIFAR through tensorflow-datasets, without TensorFlow.

The library's own builders unpack and encode with TensorFlow. The builder here prepares the same data sets (name,
version, features, keys) with the standard library and Pillow. It writes array_record files to the library's default
folder (TFDS_DATA_DIR, or ~/tensorflow_datasets), where `tfds.data_source("cifar10")` finds them as well. Data sets
prepared by the library's own builders can also be read, as array_record or TFRecord files.
"""

import io
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from resjax.data.cifar_files import check_complete, unpack
from resjax.data.cifar_format import SHAPE, Family, join_records, records
from resjax.data.cifar_png import decode
from resjax.data.tfds_preparation import line, prepare
from resjax.settings import ConfigError

READ_AT_ONCE = 1000  # records per read
PATIENCE = 20  # seconds to wait for a server's answer


def prepared(name: str, family: Family) -> Path:
  """Returns the folder of the prepared data set; downloads and prepares it if necessary.

  Args:
    name: Name of the data set, "cifar10" or "cifar100".
    family: Files of the data set.

  Raises:
    ConfigError: The data set cannot be downloaded or prepared.
  """
  builder = _builder(name, family)
  if not builder.data_path.exists():
    _check_download(builder, family)
    prepare(builder)
  return Path(builder.data_dir)


def read(folder: Path, family: Family) -> dict[str, bytes]:
  """Converts prepared records to the files of the binary version, in the order of the published files.

  Args:
    folder: Folder of one version of the data set, with its dataset_info.json.
    family: Files of the data set.

  Returns:
    Contents of the files of the binary version, by name without suffix.

  Raises:
    ConfigError: The records cannot be read, or their number is wrong.
  """
  try:
    builder = tfds.builder_from_directory(folder)
    splits = {split: _split(builder, split, family) for split in ("train", "test")}
  except Exception as error:  # damaged records can raise any exception
    raise ConfigError(
      f"{folder}: damaged or not {family.title} ({line(error)}); remove it to have it prepared again"
    ) from None
  contents, taken = {}, dict.fromkeys(splits, 0)
  for file in family.files:
    labels, pixels = (part[taken[file.split] :][: file.records] for part in splits[file.split])
    contents[file.name] = join_records(labels, pixels)
    taken[file.split] += file.records
  return contents


def _check_download(builder: tfds.core.DatasetBuilder, family: Family) -> None:
  """Raises ConfigError if the archive was not downloaded before and its server cannot be reached."""
  stem = family.binary.archive.removesuffix(".tar.gz")
  if any((Path(builder.data_dir_root) / "downloads").rglob(f"*{stem}*")):
    return
  # Checked here because the library itself would retry for minutes, with a warning each time.
  try:
    with urllib.request.urlopen(family.url, timeout=PATIENCE):
      pass
  except OSError as error:
    raise ConfigError(
      f"{family.url}: cannot be downloaded ({line(error)}); set data.path to a local {family.binary.archive}"
    ) from None


def _split(builder: tfds.core.DatasetBuilder, split: str, family: Family) -> tuple[np.ndarray, np.ndarray]:
  """Returns labels, uint8 [N, labels], and pixels, uint8 [N, 3072], in the order of the published files."""
  count = family.images(split)
  found = builder.info.splits[split].num_examples
  if found != count:
    raise ValueError(f"{found:,} images in {split}, must be {count:,}")
  labels, images = np.empty((count, len(family.labels)), np.uint8), np.empty((count, *SHAPE), np.uint8)
  seen = np.zeros(count, bool)
  for record in _records(builder, split):
    index = int(record["id"].decode().removeprefix(f"{split}_"))
    images[index], seen[index] = decode(record["image"]), True
    for column, (label, values) in enumerate(family.labels.items()):
      if not 0 <= record[label] < values:
        raise ValueError(f"{split}_{index:05d} has {label} {record[label]}, must be 0 to {values - 1}")
      labels[index, column] = record[label]
  if not seen.all():
    raise ValueError(f"{split} has no image {np.argmin(seen)}")
  return labels, images.transpose(0, 3, 1, 2).reshape(count, -1)


def _records(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[dict[str, Any]]:
  """Yields the records of a split, with encoded images."""
  decoders = {"image": tfds.decode.SkipDecoding()}
  if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
    for path in builder.info.splits[split].filepaths:
      for content in _read_tfrecords(Path(path).read_bytes()):
        yield builder.info.features.deserialize_example_np(content, decoders=decoders)
    return
  source = builder.as_data_source(split, decoders=decoders)
  for start in range(0, len(source), READ_AT_ONCE):
    yield from source.__getitems__(list(range(start, min(start + READ_AT_ONCE, len(source)))))


def _read_tfrecords(content: bytes) -> Iterator[bytes]:
  """Yields the records of a TFRecord file, each stored as length, checksum of the length, record, its checksum."""
  place = 0
  while place < len(content):
    (size,) = struct.unpack_from("<Q", content, place)
    start, place = place + 12, place + 16 + size
    if place > len(content):
      raise ValueError("a file is truncated")
    yield content[start : start + size]


def _builder(name: str, family: Family) -> tfds.core.DatasetBuilder:
  """Returns a tensorflow-datasets builder of the data set, which may not be prepared yet."""

  # Not registered, so that the library's own builder keeps the name.
  class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """One of the CIFAR data sets."""

    VERSION = tfds.core.Version("3.0.2")

    def _info(self) -> tfds.core.DatasetInfo:
      features = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=SHAPE),
        **{label: tfds.features.ClassLabel(num_classes=values) for label, values in family.labels.items()},
      }
      return tfds.core.DatasetInfo(
        builder=self,
        description=f"Color images of 32x32 pixels in {family.labels['label']} classes, from {family.binary.archive}.",
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
        homepage=family.homepage,
      )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
      archive = Path(dl_manager.download(family.url))
      members = family.members(family.binary) | dict.fromkeys(family.names.values())
      found = unpack(archive, members)
      check_complete(archive, found, members)
      for label, file in family.names.items():
        self.info.features[label].names = found[file].decode().split()
      contents = {file.name: found[f"{family.binary.folder}/{family.binary.file(file)}"] for file in family.files}
      return {split: self._generate_examples(split, contents, archive) for split in ("train", "test")}

    def _generate_examples(self, split: str, contents: dict[str, bytes], archive: Path) -> Iterator[Any]:
      index = 0
      for file, labels, images in records(contents, family, str(archive)):
        if file.split == split:
          for values, image in zip(labels, images, strict=True):
            png = io.BytesIO()  # the library stores encoded images as they are, but encodes arrays with TensorFlow
            Image.fromarray(image).save(png, "PNG")
            png.seek(0)
            named = dict(zip(family.labels, values.tolist(), strict=True))
            yield index, {"id": f"{split}_{index:05d}", "image": png, **named}
            index += 1

  Builder.name = name
  try:
    return Builder(file_format="array_record")
  except Exception as error:  # another file format, or a damaged dataset_info.json
    raise ConfigError(
      f"{name}: the copy that tensorflow-datasets prepared earlier cannot be used ({line(error)}); "
      "set TFDS_DATA_DIR to use another folder"
    ) from None
