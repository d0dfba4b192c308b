"""Runs commands in this process, with the flags that they would have in a process of their own."""

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
def import_command(name: str) -> Iterator[ModuleType]:
  """Imports one command and, meanwhile, removes all others, because their flags have the same names."""
  by_module = flags.FLAGS.flags_by_module_dict()
  others = [(module, flag) for module in COMMANDS for flag in list(by_module.get(module, ()))]
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


def run_command(
  monkeypatch: pytest.MonkeyPatch,
  name: str,
  arguments: Sequence[str],
  patches: Mapping[str, Any] | None = None,
  wrapper: Callable[[Callable[[], int]], int] = lambda main: main(),
) -> int:
  """Runs a command in this process and returns its exit code.

  Args:
    monkeypatch: Fixture of the test, which restores `sys.argv`.
    name: Module of the command, such as "launch.local".
    arguments: Arguments of the command line.
    patches: Replacements for attributes of the module, by name.
    wrapper: Function that calls the `main` of the module, given as its argument.

  Raises:
    ConfigError: The command line or the configuration is wrong.
  """
  with import_command(name) as module:
    for attribute, value in (patches or {}).items():
      setattr(module, attribute, value)
    argv = [name, *arguments]
    monkeypatch.setattr(sys, "argv", argv)
    try:
      experiment_cli._parse(argv)
      return wrapper(module.main)
    finally:
      for flag in [flag for flag in flags.FLAGS if flag == "config" or flag.startswith("config.")]:
        delattr(flags.FLAGS, flag)
      flags.FLAGS.unparse_flags()
      for flag in flags.FLAGS:
        flags.FLAGS[flag].unparse()
