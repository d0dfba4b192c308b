"""Argument parser, one-line errors and exit codes of the commands that do not take an experiment."""

import argparse
import os
import sys
from collections.abc import Callable
from logging import CRITICAL, getLogger
from typing import NoReturn

from absl import logging

from resjax import files
from resjax.records import RecordsError
from resjax.settings import ConfigError

DONE, FAILED, WRONG, STOPPED = 0, 1, 2, 75  # exit codes
TRACKERS = ("wandb", "trackio", "mlflow")  # each an extra of the same name
# Extra that installs each optional module.
EXTRAS = {
  **dict.fromkeys(("jinja2", "matplotlib", "pandas", "pyarrow", "scipy"), "analysis"),
  "tensorboardX": "tensorboard",
  **dict(zip(TRACKERS, TRACKERS, strict=True)),
  **dict.fromkeys(("jax", "flax", "optax", "orbax", "safetensors", "google.protobuf", "sklearn"), "train"),
  **dict.fromkeys(("cv2", "grain", "simplejpeg"), "imagenet"),
  "pycocotools": "detection",
  "torch": "torch",
}


class Parser(argparse.ArgumentParser):
  """An argument parser whose errors are one line and exit code 2."""

  def __init__(self, command: str, doc: str | None):
    """Creates a parser whose description is the docstring of a module.

    Args:
      command: Name of the module, such as "resjax.report".
      doc: Docstring of the module.
    """
    super().__init__(
      prog=f"python -m {command}",
      description=doc,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    self.command = command

  def error(self, message: str) -> NoReturn:
    """Prints the message and exits with code 2."""
    self.exit(WRONG, f"{self.command}: {message}; see python -m {self.command} --help\n")


def guarded(command: str, call: Callable[[], int]) -> int:
  """Returns the exit code of `call`; a user error is printed to stderr as one line and gives exit code 2."""
  logging.set_verbosity(logging.ERROR)  # hides warnings of libraries, which would surround the error line
  try:
    return call()
  except files.io_errors(ConfigError, RecordsError) as error:
    print(f"{command}: {' '.join(str(error).split())}", file=sys.stderr)
  except ModuleNotFoundError as error:
    if error.name not in EXTRAS:
      raise
    print(f"{command}: needs {error.name}: install the extra {EXTRAS[error.name]}", file=sys.stderr)
  return WRONG


def run(main: Callable[[], int]) -> NoReturn:
  """Exits the process with the code that `main` returns.

  After a damaged checkpoint, threads of Orbax log and raise errors even while the interpreter exits. These are hidden,
  because the error has already been printed as one line.
  """
  getLogger("asyncio").setLevel(CRITICAL)
  sys.unraisablehook = lambda _: None
  code = main()
  if code != DONE:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)
