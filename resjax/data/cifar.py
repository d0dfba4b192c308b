"""CIFAR-10 and CIFAR-100, read in any of their published forms or downloaded by tensorflow-datasets.

Images of both published versions and of tensorflow-datasets are returned in the order of the published files, so that
digests and runs do not depend on the form; images of Parquet files keep the order of those files. Libraries that only
some forms need are imported where that form is read.
"""

from pathlib import Path

from resjax.config import Data
from resjax.data import cifar_detection, cifar_files
from resjax.data.cifar_format import FAMILIES, SHAPE, Family, parse
from resjax.data.dataset import Description, Source
from resjax.settings import ConfigError


def describe(data: Data) -> Description:
  """Describes the data set; see `resjax.data.describe`."""
  family = FAMILIES[data.name]
  return Description(SHAPE, family.labels["label"], family.images("train"), family.images("test"))


def load(data: Data) -> Source:
  """Reads CIFAR from `data.path`, or downloads it if that is empty.

  Raises:
    ConfigError: No known form of the data set is found, or a file is invalid or differs from the published one.
  """
  family = FAMILIES[data.name]
  if not data.path:
    from resjax.data import cifar_tfds  # slow to import

    return _prepared(cifar_tfds.prepared(data.name, family), family, data)
  found = cifar_detection.find(Path(data.path).expanduser(), data.name)
  if found.form == cifar_detection.PARQUET:
    from resjax.data import cifar_parquet  # needs pyarrow and Pillow

    return cifar_parquet.load(found.files, data.name, family, found.path)
  if found.form == cifar_detection.TFDS:
    return _prepared(found.path, family, data)
  return _published(found, family, data)


def _published(found: cifar_detection.DatasetLocation, family: Family, data: Data) -> Source:
  """Reads the binary or the Python version from its archive or folder."""
  form = found.form
  if form == cifar_detection.ARCHIVE:
    version, contents = cifar_files.read_archive(found.path, family)
    form = f"{version.name} archive"
  else:
    version = family.binary if form == family.binary.name else family.python
    contents = cifar_files.read_folder(found.path, family, version)
  notes = _accepted(found.path, cifar_files.difference(contents, family, version), data)
  if version is family.python:
    from resjax.data import cifar_python

    contents = cifar_python.read(contents, family, str(found.path))
  return parse(contents, family, str(found.path), form, notes)


def _prepared(folder: Path, family: Family, data: Data) -> Source:
  """Reads the data set prepared by tensorflow-datasets in a folder."""
  from resjax.data import cifar_tfds

  contents = cifar_tfds.read(folder, family)
  # The records reproduce the binary files byte for byte, so that their checksums apply.
  notes = _accepted(folder, cifar_files.difference(contents, family, family.binary), data)
  return parse(contents, family, str(folder), cifar_detection.TFDS, notes)


def _accepted(path: Path, difference: str, data: Data) -> tuple[str, ...]:
  """Returns the note for the record of a run that uses files which differ from the published ones.

  Raises:
    ConfigError: The files differ and `data.checksum` is "published".
  """
  if not difference:
    return ()
  if data.checksum == "published":
    raise ConfigError(
      f"{path}: differs from the published files ({difference}); set data.checksum=any to use it anyway"
    )
  return (f"{path}: differs from the published files ({difference}), accepted by data.checksum=any",)
