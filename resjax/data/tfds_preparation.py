"""Data sets that tensorflow-datasets prepares once, as array_record files, in a folder of its own."""

import contextlib
import sys

import tensorflow_datasets as tfds

from resjax.settings import ConfigError


def prepare(builder: tfds.core.DatasetBuilder) -> None:
  """Downloads the archive, if need be, and writes the array_record files.

  Raises:
    ConfigError: it cannot be done.
  """
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(sys.stderr):  # it prints; standard output is the commands' own
      builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
  except ConfigError:
    raise
  # Beside these, download errors of the library derive from Exception alone.
  except Exception as error:
    if builder.data_path.exists():  # another process, which prepared it too, was quicker
      return
    raise ConfigError(f"{builder.data_dir}: cannot be prepared ({line(error)})") from None


def line(error: Exception) -> str:
  """Returns what an error says, as a short line."""
  words = " ".join(str(error).split()) or type(error).__name__
  return words if len(words) <= 200 else f"{words[:200]}..."
