"""The command line of the commands that take no experiment: one-line errors, exit codes."""

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
# What a command needs that a base install has not, by the name it is imported by, and the extra that brings it.
EXTRAS = {
  **dict.fromkeys(("jinja2", "matplotlib", "pandas", "pyarrow", "scipy"), "analysis"),
  "tensorboardX": "tensorboard",
  **dict.fromkeys(("jax", "flax", "optax", "orbax", "safetensors", "google.protobuf", "sklearn"), "train"),
  **dict.fromkeys(("cv2", "grain", "simplejpeg"), "imagenet"),
  "torch": "torch",
}


class Parser(argparse.ArgumentParser):
  """A parser whose errors are one line and exit code 2."""

  def __init__(self, command: str, doc: str | None):
    """Takes the module's docstring as description.

    Args:
      command: "resjax.report".
      doc: the docstring.
    """
    super().__init__(
      prog=f"python -m {command}",
      description=doc,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    self.command = command

  def error(self, message: str) -> NoReturn:
    """Ends the process."""
    self.exit(WRONG, f"{self.command}: {message}; python -m {self.command} --help says more\n")


def guarded(command: str, call: Callable[[], int]) -> int:
  """Returns the exit code of `call`; what the user got wrong is one line on stderr and exit code 2."""
  logging.set_verbosity(logging.ERROR)  # what libraries warn of would stand beside that line
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
  """Ends the process with what `main` returns.

  Of a damaged checkpoint the library's threads go on to speak, also when the interpreter ends. They are not heard: what
  is wrong is said in one line.
  """
  getLogger("asyncio").setLevel(CRITICAL)
  sys.unraisablehook = lambda _: None
  code = main()
  if code != DONE:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)
