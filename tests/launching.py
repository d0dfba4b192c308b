"""A launcher called in this process, with the command line it would have."""

import sys
from collections.abc import Sequence
from types import ModuleType

import pytest
from absl import flags

from resjax import command
from resjax.settings import ConfigError


def called(monkeypatch: pytest.MonkeyPatch, module: ModuleType, arguments: Sequence[str]) -> int:
  """Returns the exit code of a command; what the user got wrong is raised as ConfigError."""
  argv = [module.__name__, *arguments]
  monkeypatch.setattr(sys, "argv", argv)
  before = {name: flags.FLAGS[name].value for name in flags.FLAGS if name != "config"}
  present = {name: flags.FLAGS[name].present for name in before}
  try:
    command._parse(argv)
    return module.main()
  finally:
    flags.FLAGS.unparse_flags()
    if "config" in flags.FLAGS:
      for name in [name for name in flags.FLAGS if name == "config" or name.startswith("config.")]:
        delattr(flags.FLAGS, name)
    for name, value in before.items():
      flags.FLAGS[name].value, flags.FLAGS[name].present = value, present[name]


__all__ = ["ConfigError", "called"]
