"""ImageNet 2012 through tensorflow-datasets, without TensorFlow.

The library's own builder reads the archives with TensorFlow and re-encodes some images. The builder here prepares the
same data set (name, version, features, keys) with the standard library and keeps the published images unchanged. It
writes array_record files to the library's default folder (TFDS_DATA_DIR, or ~/tensorflow_datasets). array_record files
prepared by the library's own builder can also be read.
"""

import dataclasses
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from resjax.config import Data
from resjax.data.files import Encoded, Unreadable
from resjax.data.tfds_preparation import line, prepare
from resjax.settings import ConfigError

ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "validation": "ILSVRC2012_img_val.tar"}
IMAGES = {"train": 1_281_167, "validation": 50_000}


@dataclasses.dataclass(frozen=True)
class RecordFiles:
  """Encoded images in array_record files.

  Attributes:
    source: Data source of tensorflow-datasets that returns encoded images.
    indices: Indices of the records in order, int64 [N].
  """

  source: Any
  indices: np.ndarray

  def __len__(self) -> int:
    return len(self.indices)

  def read(self, index: int) -> Encoded:
    """Returns the image at an index; see `resjax.data.files.Files.read`."""
    number = int(self.indices[index])
    try:
      record = self.source[number]
    except (OSError, RuntimeError, ValueError) as error:
      raise Unreadable(f"record {number}: {line(error)}") from None
    return Encoded(record["file_name"].decode(), record["image"], int(record["label"]))

  def take(self, indices: np.ndarray) -> "RecordFiles":
    """Returns the images at `indices`, int [M], in that order."""
    return RecordFiles(self.source, self.indices[indices])


def find(data: Data) -> tuple[RecordFiles, RecordFiles, tuple[str, ...], str, str]:
  """Finds the prepared data set, and prepares it if necessary.

  Returns:
    Training images, validation images, names of the classes, path, and a SHA-256 digest of the names, numbers and sizes
    of the records.

  Raises:
    ConfigError: The data set cannot be prepared, or the number of images differs from the published one.
  """
  builder = _builder(Path(data.path).expanduser() if data.path else None)
  if not builder.data_path.exists():
    _prepare(builder, data)
  sources = {}
  sha = hashlib.sha256(f"{builder.name} {builder.version}".encode())
  for split, count in IMAGES.items():
    if split not in builder.info.splits:
      raise ConfigError(f"{builder.data_path}: has no split {split}")
    sources[split] = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    found, info = len(sources[split]), builder.info.splits[split]
    if found != count and data.checksum == "published":
      raise ConfigError(
        f"{builder.data_path}: {found:,} images in {split}, but the published set has {count:,}; "
        "set data.checksum=any to use them anyway"
      )
    sha.update(f"\n{split} {found} {info.num_bytes} {info.shard_lengths}".encode())
  train, test = (RecordFiles(source, np.arange(len(source))) for source in sources.values())
  names = tuple(builder.info.features["label"].names)
  return train, test, names, str(builder.data_path), sha.hexdigest()


def _prepare(builder: tfds.core.DatasetBuilder, data: Data) -> None:
  """Writes the array_record files from the two archives in `data.path`."""
  if not data.path:
    raise ConfigError(
      f"data.path is empty, and {builder.data_path} does not exist: set data.path to the folder with "
      f"{' and '.join(ARCHIVES.values())} (from image-net.org), from which the data set is prepared once"
    )
  for archive in ARCHIVES.values():
    if not (Path(data.path).expanduser() / archive).is_file():
      raise ConfigError(f"data.path = {data.path!r}: contains no {archive}")
  prepare(builder)


def _words(name: str) -> list[str]:
  """Returns the words of a file that is part of tensorflow-datasets."""
  return (Path(tfds.core.tfds_path("datasets/imagenet2012")) / name).read_text().split()


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
  """Yields names and contents of the files in an archive, including those in its nested archives of classes."""
  with tarfile.open(archive) as outer:
    for member in outer:
      opened = outer.extractfile(member)
      if opened is None:
        continue
      if not member.name.endswith(".tar"):
        yield member.name, opened.read()
        continue
      with tarfile.open(fileobj=opened) as inner:
        for image in inner:
          if content := inner.extractfile(image):
            yield image.name, content.read()


def _builder(folder: Path | None) -> tfds.core.DatasetBuilder:
  """Returns a tensorflow-datasets builder of the data set, which may not be prepared yet."""

  # Not registered, so that the library's own builder keeps the name.
  class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """ImageNet 2012."""

    VERSION = tfds.core.Version("5.1.0")

    def _info(self) -> tfds.core.DatasetInfo:
      features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=_words("labels.txt")),
        "file_name": tfds.features.Text(),
      }
      return tfds.core.DatasetInfo(
        builder=self,
        description="The images of the ILSVRC 2012 classification task, as they are published.",
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
        homepage="https://image-net.org/",
      )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
      assert folder is not None
      return {split: self._generate_examples(split, folder / archive) for split, archive in ARCHIVES.items()}

    def _generate_examples(self, split: str, archive: Path) -> Iterator[Any]:
      labels = _validation_labels(archive) if split == "validation" else {}
      for name, content in _members(archive):
        label = labels[name] if labels else name.partition("_")[0]
        yield name, {"image": io.BytesIO(content), "label": label, "file_name": name}

  Builder.name = "imagenet2012"
  try:
    return Builder(file_format="array_record")
  except Exception as error:  # another file format, or a damaged dataset_info.json
    raise ConfigError(
      f"imagenet2012: the copy that tensorflow-datasets prepared earlier cannot be used ({line(error)}); "
      "set TFDS_DATA_DIR to use another folder"
    ) from None


def _validation_labels(archive: Path) -> dict[str, str]:
  """Returns the class of each file from the library's list, which is in the order of the file names."""
  with tarfile.open(archive) as opened:
    return dict(zip(sorted(opened.getnames()), _words("validation_labels.txt"), strict=False))
