"""Commands called in this process, with the command line they would have."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest
from absl import flags

from resjax import experiment_cli

COMMANDS = ("launch.local", "launch.slurm", "launch.tpu", "launch.k8s", "resjax.plan", "resjax.summary")


@contextlib.contextmanager
def loaded(name: str) -> Iterator[ModuleType]:
  """Imports a command for a while, alone: each is the main module of a process, and has flags of the same names."""
  known = flags.FLAGS.flags_by_module_dict()
  others = [(module, flag) for module in COMMANDS for flag in list(known.get(module, ()))]
  before = {module: sys.modules.pop(module) for module in COMMANDS if module in sys.modules}
  for _, flag in others:
    delattr(flags.FLAGS, flag.name)
  try:
    yield importlib.import_module(name)
  finally:
    for flag in list(flags.FLAGS.flags_by_module_dict().get(name, ())):
      delattr(flags.FLAGS, flag.name)
    del sys.modules[name]
    sys.modules.update(before)
    for module, flag in others:
      flags.FLAGS[flag.name] = flag
      flags.FLAGS.register_flag_by_module(module, flag)


def called(
  monkeypatch: pytest.MonkeyPatch,
  name: str,
  arguments: Sequence[str],
  patches: Mapping[str, Any] | None = None,
  through: Callable[[Callable[[], int]], int] = lambda main: main(),
) -> int:
  """Returns the exit code of a command; what the user got wrong is raised as ConfigError.

  Args:
    monkeypatch: of the test.
    name: "launch.local".
    arguments: of its command line.
    patches: attributes of its module to be replaced.
    through: calls its `main`.
  """
  with loaded(name) as module:
    for attribute, value in (patches or {}).items():
      setattr(module, attribute, value)
    argv = [name, *arguments]
    monkeypatch.setattr(sys, "argv", argv)
    try:
      experiment_cli._parse(argv)
      return through(module.main)
    finally:
      for flag in [flag for flag in flags.FLAGS if flag == "config" or flag.startswith("config.")]:
        delattr(flags.FLAGS, flag)
      flags.FLAGS.unparse_flags()
      for flag in flags.FLAGS:
        flags.FLAGS[flag].unparse()
