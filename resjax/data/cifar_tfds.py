"""CIFAR through tensorflow-datasets, without TensorFlow.

The library's own builders unpack and encode with TensorFlow. The one here prepares the same data sets (name, version,
features, keys) with the standard library and Pillow, as array_record files in the library's usual folder
(TFDS_DATA_DIR, or ~/tensorflow_datasets), where `tfds.data_source("cifar10")` finds them as well.
"""

import hashlib
import io
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from resjax.data.cifar_format import SHAPE, Family, records, unpack
from resjax.data.dataset import Images, Source
from resjax.data.prepared import line, prepare
from resjax.settings import ConfigError

READ_AT_ONCE = 1000  # records
PATIENCE = 20  # seconds until a server has answered


def archive_difference(path: Path, family: Family) -> str:
  """Returns how an archive differs from the one that tensorflow-datasets registers as published, or nothing.

  Raises:
    ConfigError: it cannot be read.
  """
  published = tfds.core.download.checksums.get_all_url_infos()[family.url]
  size = path.stat().st_size
  if size != published.size:
    return f"{size:,} bytes, published are {int(published.size):,}"
  try:
    with path.open("rb") as file:
      return "" if hashlib.file_digest(file, "sha256").hexdigest() == published.checksum else "other SHA-256"
  except OSError as error:
    raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None


def load(name: str, family: Family, archive: Path | None) -> Source:
  """Reads the prepared data set, after preparing it if there is none.

  Args:
    name: of the data set, "cifar10" or "cifar100".
    family: its files.
    archive: the published archive, which the caller has checked; None to download it.

  Raises:
    ConfigError: it cannot be downloaded or prepared, or what was prepared before cannot be read.
  """
  builder = _builder(name, family, archive)
  if not builder.data_path.exists():
    if archive is None:
      _check_download(builder, family)
    prepare(builder)
    builder = _builder(name, family, archive)
  try:
    train, test = (_read(builder, split, family) for split in ("train", "test"))
  except Exception as error:  # damaged records come out as anything, from RuntimeError to a missing id
    raise ConfigError(
      f"{builder.data_dir}: damaged or not {name} ({line(error)}); remove it to have it prepared again"
    ) from None
  return Source(train, test, family.labels["label"], str(archive or builder.data_dir))


def _check_download(builder: tfds.core.DatasetBuilder, family: Family) -> None:
  """Raises ConfigError if the archive is neither there from an earlier download nor can be had from the network."""
  stem = family.archive.removesuffix(".tar.gz")
  if any((Path(builder.data_dir_root) / "downloads").rglob(f"*{stem}*")):
    return
  # Asked here because the library itself would try for minutes, with a warning each time.
  try:
    with urllib.request.urlopen(family.url, timeout=PATIENCE):
      pass
  except OSError as error:
    raise ConfigError(
      f"{family.url}: cannot be downloaded ({line(error)}); data.path can name a local {family.archive}"
    ) from None


def _read(builder: tfds.core.DatasetBuilder, split: str, family: Family) -> Images:
  """Returns a split in the order of the published files, which the ids of the records keep."""
  source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
  count = family.images(split)
  if len(source) != count:
    raise ValueError(f"{len(source):,} images in {split}, must be {count:,}")
  images, labels = np.empty((count, *SHAPE), np.uint8), np.full(count, -1, np.int32)
  for start in range(0, count, READ_AT_ONCE):
    for record in source.__getitems__(list(range(start, min(start + READ_AT_ONCE, count)))):
      index = int(record["id"].decode().removeprefix(f"{split}_"))
      images[index] = np.asarray(Image.open(io.BytesIO(record["image"])))
      labels[index] = record["label"]
  if labels.min() < 0:
    raise ValueError(f"{split} has no image {labels.argmin()}")
  return Images(images, labels)


def _builder(name: str, family: Family, archive: Path | None) -> tfds.core.DatasetBuilder:
  """Returns the library's object for the data set, whether it is prepared or not."""

  # Not registered: the library's own builder of that name keeps its place.
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
        description=f"Colour images of 32x32 pixels in {family.labels['label']} classes, from {family.archive}.",
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
        homepage=family.homepage,
      )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
      found = archive or Path(dl_manager.download(family.url))
      contents = unpack(found, family.members | dict.fromkeys(family.names.values()))
      for label, file in family.names.items():
        self.info.features[label].names = contents[file].decode().split()
      return {split: self._generate_examples(split, contents, found) for split in ("train", "test")}

    def _generate_examples(self, split: str, contents: dict[str, bytes], found: Path) -> Iterator[Any]:
      index = 0
      for file, labels, images in records(contents, family, str(found)):
        if file.split == split:
          for values, image in zip(labels, images, strict=True):
            png = io.BytesIO()  # the library takes encoded images as they are; arrays it would give to TensorFlow
            Image.fromarray(image).save(png, "PNG")
            png.seek(0)
            named = dict(zip(family.labels, values.tolist(), strict=True))
            yield index, {"id": f"{split}_{index:05d}", "image": png, **named}
            index += 1

  Builder.name = name
  try:
    return Builder(file_format="array_record")
  except Exception as error:  # another format, or a damaged description of the data set
    raise ConfigError(
      f"{name}, as tensorflow-datasets has prepared it before, cannot be used ({line(error)}); "
      "TFDS_DATA_DIR can name another folder"
    ) from None
