"""Command line shared by the commands on experiments: flags that select runs and settings, errors, exit codes.

The flags are `--config FILE[:VARIANT]`, `--config.KEY=VALUE`, `--only` and `--index`.
"""

import os
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from absl import app, flags, logging
from ml_collections import config_flags

from resjax import files, listing, registry, settings
from resjax.config import Config
from resjax.records import RecordsError
from resjax.settings import ConfigError
from resjax.sweep import Run

DONE, FAILED, WRONG, PREEMPTED = 0, 1, 2, 75  # exit codes
T = TypeVar("T")

ONLY = flags.DEFINE_string("only", "", "Runs to select: space-separated key=value[,value...] with keys of --list.")
INDEX = flags.DEFINE_integer("index", None, "Single run to select: 0-based row of --list after --only.")


def run(main: Callable[[], int]) -> None:
  """Parses the command line, calls `main` and exits with the code that it returns.

  `--help` prints the module's docstring, its flags and every setting. A user error (ConfigError, RecordsError, an
  invalid flag) is printed to stderr as one line and gives exit code 2.
  """
  logging.set_verbosity(logging.WARNING)  # before the command line is parsed, so that --verbosity takes precedence
  app.run(lambda _: _guarded(main), flags_parser=lambda argv: _guarded(lambda: _parse(argv)))


def selected_runs() -> tuple[registry.Experiment, list[Run]]:
  """Returns the experiment of `--config` and the runs that `--only` and `--index` select.

  Raises:
    ConfigError: The experiment, a setting, the filter or the index is invalid.
  """
  name, variant, _ = _named(sys.argv)
  if not name:
    raise ConfigError("--config is missing: name an experiment; --list shows them")
  experiment = registry.find(name)
  pinned = config_flags.get_override_values(flags.FLAGS["config"])
  runs, index = listing.filter_runs(experiment.runs(variant, pinned), ONLY.value), INDEX.value
  if index is None:
    return experiment, runs
  if not 0 <= index < len(runs):
    raise ConfigError(f"--index {index}: must be 0 to {len(runs) - 1}, a row of --list, which has {len(runs)} of them")
  return experiment, [runs[index]]


def arguments_for_same_runs() -> list[str]:
  """Returns command-line arguments that select the same runs: experiment, settings and filter, but not the index."""
  name, variant, _ = _named(sys.argv)
  overridden = config_flags.get_override_values(flags.FLAGS["config"])
  settings_given = [f"--config.{key}={value}" for key, value in overridden.items()]
  only = [f"--only={ONLY.value}"] if ONLY.value else []
  return [f"--config={name}:{variant}" if variant else f"--config={name}", *settings_given, *only]


def names_experiment() -> bool:
  """Returns whether the command line names an experiment."""
  return bool(_named(sys.argv)[0])


def print_output(text: str) -> None:
  """Prints the requested output; a closed pipe, as with `| head`, is not an error."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # avoids another error when the interpreter exits


def program_name() -> str:
  """Returns the command that started this program, such as "python -m resjax.main"."""
  spec = sys.modules["__main__"].__spec__
  return f"python -m {spec.name}" if spec else sys.argv[0]


def _parse(argv: list[str]) -> list[str]:
  if any(re.fullmatch(r"-h|--?help(short|full)?", arg) for arg in argv):
    print(_help())
    sys.exit(DONE)
  keys = [match[1] for arg in argv if (match := re.match(r"--?(?:no)?config\.([^=]*)", arg))]
  for key in keys:
    settings.check_key(Config, key)
  name, variant, argv = _named(argv)
  if name:
    base = registry.find(name).base(variant)
    config_flags.DEFINE_config_dict("config", base, sys_argv=argv)
  elif keys:
    raise ConfigError(f"--config.{keys[0]} without --config: name an experiment first; --list shows them")
  rest = _flags(argv)
  if len(rest) > 1:
    raise ConfigError(f"unknown argument {rest[1]}")
  for flag in (ONLY, INDEX):
    if flag.present and not name:
      raise ConfigError(f"--{flag.name} without --config: name an experiment first; --list shows them")
  return rest


def _flags(argv: list[str]) -> list[str]:
  """Parses the flags and returns the remaining arguments; names the allowed type of a setting, unlike absl."""
  try:
    return flags.FLAGS(argv)
  except flags.IllegalFlagValueError as error:
    if match := re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error), re.DOTALL):
      kind: Any = dict(settings.leaves(Config))[match[1]].type
      raise ConfigError(f"{match[1]} = {match[2]!r}: must be {settings.type_name(kind)}") from None
    raise


def _named(argv: list[str]) -> tuple[str, str, list[str]]:
  """Returns the experiment and the variant of the last `--config`, both possibly empty, and the other arguments.

  Raises:
    ConfigError: `--config` has no value.
  """
  name, others, remaining = "", [], iter(argv)
  for arg in remaining:
    if match := re.fullmatch(r"--?config(?:=(.*))?", arg):
      name = next(remaining, "") if match[1] is None else match[1]
      if not name or name.startswith("-"):
        raise ConfigError("--config needs the name of an experiment; --list shows them")
    else:
      others.append(arg)
  path, colon, variant = name.rpartition(":")
  return (path, variant, others) if colon and "/" not in variant else (name, "", others)


def _guarded(call: Callable[[], T]) -> T:
  try:
    return call()
  except files.io_errors(ConfigError, RecordsError, flags.Error) as error:
    print(f"{program_name()}: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(WRONG)


def _help() -> str:
  main = sys.modules["__main__"]
  own = [*flags.FLAGS.get_key_flags_for_module(main), flags.FLAGS["only"], flags.FLAGS["index"]]
  lines = [(main.__doc__ or "").strip(), "", "Flags:"]
  lines += [f"  --{flag.name}={flag.default!r}: {flag.help}" for flag in own]
  lines += ["", "Settings:"]
  lines += [
    f"  --config.{key}={field.default!r}: {field.metadata['meaning']}" for key, field in settings.leaves(Config)
  ]
  return "\n".join(lines)
