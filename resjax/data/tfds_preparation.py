"""Preparation of data sets by tensorflow-datasets, as array_record files in its own folder."""

import contextlib
import sys

import tensorflow_datasets as tfds

from resjax.settings import ConfigError


def prepare(builder: tfds.core.DatasetBuilder) -> None:
  """Downloads the archive if necessary and writes the array_record files.

  Raises:
    ConfigError: The download or the preparation failed.
  """
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(sys.stderr):  # standard output is reserved for the command's results
      builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
  except ConfigError:
    raise
  # Some download errors of the library derive directly from Exception.
  except Exception as error:
    if builder.data_path.exists():  # another process prepared it in the meantime
      return
    raise ConfigError(f"{builder.data_dir}: cannot be prepared ({line(error)})") from None


def line(error: Exception) -> str:
  """Returns the message of an error as one line of at most 200 characters."""
  words = " ".join(str(error).split()) or type(error).__name__
  return words if len(words) <= 200 else f"{words[:200]}..."
