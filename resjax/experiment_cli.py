"""What the commands share: `--config FILE[:VARIANT]`, `--config.KEY=VALUE`, `--only`, `--index`, errors, exit codes."""

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

ONLY = flags.DEFINE_string("only", "", "Runs to take: key=value[,value...], space-separated, over the keys of --list.")
INDEX = flags.DEFINE_integer("index", None, "The one run to take: a row of --list after --only, counted from 0.")


def run(main: Callable[[], int]) -> None:
  """Parses the command line, calls `main` and exits with what it returns.

  `--help` prints the module's docstring, its flags and every setting. What the user got wrong (ConfigError,
  RecordsError, a bad flag) is one line on stderr and exit code 2.
  """
  logging.set_verbosity(logging.WARNING)  # before the command line is read, so that --verbosity wins
  app.run(lambda _: _guarded(main), flags_parser=lambda argv: _guarded(lambda: _parse(argv)))


def selected_runs() -> tuple[registry.Experiment, list[Run]]:
  """Returns the experiment of `--config` and those of its runs that `--only` and `--index` leave.

  Raises:
    ConfigError: the experiment, a setting, the filter or the index is wrong.
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
  """Returns the arguments of a command line that name the same runs: experiment, settings and filter, not the index."""
  name, variant, _ = _named(sys.argv)
  overridden = config_flags.get_override_values(flags.FLAGS["config"])
  settings_given = [f"--config.{key}={value}" for key, value in overridden.items()]
  only = [f"--only={ONLY.value}"] if ONLY.value else []
  return [f"--config={name}:{variant}" if variant else f"--config={name}", *settings_given, *only]


def names_experiment() -> bool:
  """Whether the command line names an experiment."""
  return bool(_named(sys.argv)[0])


def print_output(text: str) -> None:
  """Prints what was asked for; a reader that has gone, as in `| head`, is no error."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it ends


def program_name() -> str:
  """Returns how this program was started: "python -m resjax.main"."""
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
  """Sets the flags and returns the other arguments; of a setting it says what is allowed, which absl does not."""
  try:
    return flags.FLAGS(argv)
  except flags.IllegalFlagValueError as error:
    if match := re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error), re.DOTALL):
      kind: Any = dict(settings.leaves(Config))[match[1]].type
      raise ConfigError(f"{match[1]} = {match[2]!r}: must be {kind.__name__}") from None
    raise


def _named(argv: list[str]) -> tuple[str, str, list[str]]:
  """Returns name or path, and variant, of the last `--config`, or two empty strings; then the arguments without it.

  Raises:
    ConfigError: nothing is named.
  """
  name, others, remaining = "", [], iter(argv)
  for arg in remaining:
    if match := re.fullmatch(r"--?config(?:=(.*))?", arg):
      name = next(remaining, "") if match[1] is None else match[1]
      if not name or name.startswith("-"):
        raise ConfigError("--config names no experiment; --list shows them")
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
