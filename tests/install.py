"""Installs each extra of resjax in a virtual environment, as users do, and runs commands that it suffices for.

    python tests/install.py [ENVIRONMENT ...]        # make test-install

Needs a package index. Prints a table of environments and commands; the exit code is 1 if a command failed.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHORT_RUN = (
  "-m resjax.main --config quickstart --workdir runs --only kind=residual&depth=8 --config.train.steps=2 "
  "--config.evaluation.every=2 --config.checkpoint.every=2 --config.responses.images=128"
)
RUN = "runs/quickstart/residual-A-d8-s0"
LIST = "-m resjax.main --list"
LOAD = "-c import~resjax.analysis;print(len(resjax.analysis.load('LOGS').runs))"
TRAIN = (
  *(LIST, SHORT_RUN, "-m resjax.summary --config quickstart", f"-m resjax.evaluate --checkpoint {RUN} --data digits"),
  *(f"-m resjax.convert --to torch {RUN} --out net.safetensors", "-m resjax.report runs", LOAD),
)

SCRIPTS = ("resjax", "resjax --version", "resjax train --list", "resjax report runs")  # commands of the console script


@dataclasses.dataclass(frozen=True)
class Environment:
  """A way to install the project.

  Attributes:
    extras: What stands in the brackets of `pip install '.[...]'`.
    commands: Arguments of Python, or of the console script if they begin with `resjax`; a space in one of them is
      written as ~, or as & in `--only`.
    wheel: Whether a wheel is built first, and installed where the checkout is not.
  """

  extras: str
  commands: tuple[str, ...]
  wheel: bool = False


ENVIRONMENTS = {
  "base": Environment("", (LIST, "-m resjax.main --config quickstart --list")),
  "train": Environment("train", TRAIN),
  "analysis": Environment("analysis", ("-m resjax.report LOGS", LOAD)),
  "mlflow": Environment("mlflow", ("-m resjax.report LOGS --to mlflow",)),
  "imagenet": Environment("train,imagenet", (LIST, SHORT_RUN, "-c import~resjax.data.batch_stream")),
  "notebooks": Environment("notebooks", (LOAD, "-m jupytext --to ipynb --output first.ipynb NOTEBOOK")),
  "wheel": Environment("train", (*TRAIN, "-m resjax --version", *SCRIPTS), wheel=True),
}


def run(command: list[str], folder: Path) -> tuple[bool, float, str]:
  """Runs a command; returns whether it succeeded, seconds, and the last line it printed."""
  start = time.monotonic()
  clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
  result = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=1800)
  lines = (result.stdout + result.stderr).strip().splitlines() or [""]
  return result.returncode == 0, time.monotonic() - start, lines[-1]


def try_environment(name: str, folder: Path) -> list[tuple[str, bool, float, str]]:
  """Creates one environment and runs its commands in an empty folder.

  Args:
    name: Name of the environment in `ENVIRONMENTS`.
    folder: Empty folder for the environment.

  Returns:
    For the installation and for each command its text, whether it succeeded, seconds, and the last line it printed.
  """
  environment, python = ENVIRONMENTS[name], str(folder / "venv" / "bin" / "python")
  empty, logs = folder / "empty", folder / "logs"
  empty.mkdir()
  subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
  # The logs are copied because reports are written beside them.
  subprocess.run(["cp", "-r", str(ROOT / "notebooks" / "logs"), str(logs)], check=True)
  source, pip = str(ROOT), [python, "-m", "pip", "--disable-pip-version-check"]
  if environment.wheel:
    built = run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], folder)
    if not built[0]:
      return [("pip wheel .", *built)]
    source = str(next(folder.glob("*.whl")))
  target = f"{source}[{environment.extras}]" if environment.extras else source
  text = f"pip install '{'resjax.whl' if environment.wheel else '.'}[{environment.extras}]'"
  rows = [(text, *run([*pip, "install", "--quiet", "--no-compile", target], folder))]
  if rows[0][1]:
    for command in environment.commands:
      words = command.replace("LOGS", str(logs)).replace("NOTEBOOK", str(ROOT / "notebooks" / "01_read_the_logs.py"))
      arguments = [word.replace("~", " ").replace("&", " ") for word in words.split(" ")]
      program = [] if arguments[0] == "resjax" else [python]
      text = " ".join([*(["python"] if program else []), command]).replace("~", " ").replace("&", " ")
      if not program:
        arguments[0] = str(folder / "venv" / "bin" / "resjax")
      rows.append((text, *run([*program, *arguments], empty)))
  return rows


def main() -> int:
  """Tests the environments named on the command line, or all, and returns the exit code."""
  names, failed = sys.argv[1:] or list(ENVIRONMENTS), 0
  if unknown := set(names) - set(ENVIRONMENTS):
    print(f"unknown environment {', '.join(sorted(unknown))}; there are {', '.join(ENVIRONMENTS)}", file=sys.stderr)
    return 2
  for name in names:
    with tempfile.TemporaryDirectory() as folder:
      for command, succeeded, seconds, last in try_environment(name, Path(folder)):
        print(f"{name:10} {'ok' if succeeded else 'FAILED':7} {seconds:6.1f} s  {command[:110]}", flush=True)
        if not succeeded:
          print(f"{'':10} {last}", flush=True)
          failed = 1
  return failed


if __name__ == "__main__":
  sys.exit(main())
