"""What the commands share: `--config FILE[:VARIANT]`, `--config.KEY=VALUE`, `--only`, one-line errors, exit codes."""

import re
import sys
from collections.abc import Callable
from typing import TypeVar

from absl import app, flags, logging
from ml_collections import config_flags

from resjax import listing, registry, settings
from resjax.config import Config
from resjax.records import RecordsError
from resjax.settings import ConfigError
from resjax.sweep import Run

DONE, FAILED, WRONG, PREEMPTED = 0, 1, 2, 75  # exit codes
T = TypeVar("T")

ONLY = flags.DEFINE_string("only", "", "Runs to take: key=value[,value...], space-separated, over the keys of --list.")


def start(main: Callable[[], int]) -> None:
  """Parses the command line, calls `main` and exits with what it returns.

  `--help` prints the module's docstring, its flags and every setting. What the user got wrong (ConfigError,
  RecordsError, a bad flag) is one line on stderr and exit code 2.
  """
  logging.set_verbosity(logging.WARNING)  # before the command line is read, so that --verbosity wins
  app.run(lambda _: _guarded(main), flags_parser=lambda argv: _guarded(lambda: _parse(argv)))


def chosen() -> tuple[registry.Experiment, list[Run]]:
  """Returns the experiment of `--config` and those of its runs that `--only` leaves.

  Raises:
    ConfigError: the experiment, a setting or the filter is wrong.
  """
  name, variant = _named(sys.argv)
  if not name:
    raise ConfigError("--config is missing: name an experiment; --list shows them")
  experiment = registry.find(name)
  pinned = config_flags.get_override_values(flags.FLAGS["config"])
  return experiment, listing.only(experiment.runs(variant, pinned), ONLY.value)


def given() -> bool:
  """Whether the command line names an experiment."""
  return bool(_named(sys.argv)[0])


def _parse(argv: list[str]) -> list[str]:
  if any(arg in ("-h", "-help", "--help") for arg in argv):
    print(_help())
    sys.exit(DONE)
  keys = [match[1] for arg in argv if (match := re.match(r"--?(?:no)?config\.([^=]+)", arg))]
  for key in keys:
    settings.check_key(Config, key)
  name, variant = _named(argv)
  argv = _without_experiment(argv)
  if name:
    base = registry.find(name).base(variant)
    config_flags.DEFINE_config_dict("config", base, sys_argv=argv)
  elif keys:
    raise ConfigError(f"--config.{keys[0]} without --config: name an experiment first; --list shows them")
  rest = flags.FLAGS(argv)
  if len(rest) > 1:
    raise ConfigError(f"unknown argument {rest[1]}")
  return rest


def _named(argv: list[str]) -> tuple[str, str]:
  """Returns name or path, and variant, of the last `--config`, or two empty strings."""
  name = ""
  for here, following in zip(argv, [*argv[1:], ""], strict=True):
    if match := re.fullmatch(r"--?config(?:=(.*))?", here):
      name = following if match[1] is None else match[1]
  return tuple(name.split(":", 1)) if ":" in name else (name, "")  # type: ignore[return-value]


def _without_experiment(argv: list[str]) -> list[str]:
  """Returns the arguments less `--config NAME` itself, which is not a value of the flag that holds the settings."""
  kept, skip = [], False
  for arg in argv:
    if not skip and not arg.startswith(("--config=", "-config=")) and arg not in ("--config", "-config"):
      kept.append(arg)
    skip = not skip and arg in ("--config", "-config")
  return kept


def _guarded(call: Callable[[], T]) -> T:
  try:
    return call()
  except (ConfigError, RecordsError, flags.Error) as error:
    print(f"{_program()}: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(WRONG)


def _program() -> str:
  spec = sys.modules["__main__"].__spec__
  return f"python -m {spec.name}" if spec else sys.argv[0]


def _help() -> str:
  main = sys.modules["__main__"]
  own = [*flags.FLAGS.get_key_flags_for_module(main), flags.FLAGS["only"]]
  lines = [(main.__doc__ or "").strip(), "", "Flags:"]
  lines += [f"  --{flag.name}={flag.default!r}: {flag.help}" for flag in own]
  lines += ["", "Settings:"]
  lines += [
    f"  --config.{key}={field.default!r}: {field.metadata['meaning']}" for key, field in settings.leaves(Config)
  ]
  return "\n".join(lines)
