"""Installs resjax as users do, each extra in a virtual environment, and runs what the README says works there.

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
QUICK = (
  "-m resjax.main --config quickstart --workdir runs --only kind=residual&depth=8 --config.train.steps=2 "
  "--config.evaluation.every=2 --config.checkpoint.every=2 --config.responses.images=128"
)
RUN = "runs/quickstart/residual-A-d8-s0"
LIST = "-m resjax.main --list"
LOAD = "-c import~resjax.analysis;print(len(resjax.analysis.load('LOGS').runs))"
TRAIN = (
  *(LIST, QUICK, "-m resjax.summary --config quickstart", f"-m resjax.evaluate --checkpoint {RUN} --data digits"),
  *(f"-m resjax.convert --to torch {RUN} --out net.safetensors", "-m resjax.report runs", LOAD),
)

SCRIPTS = ("resjax", "resjax --version", "resjax train --list", "resjax report runs")  # the console script


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
  "imagenet": Environment("train,imagenet", (LIST, QUICK, "-c import~resjax.data.batch_stream")),
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


def attempt(name: str, folder: Path) -> list[tuple[str, bool, float, str]]:
  """Makes one environment and runs its commands in an empty folder; returns a row each, the installation first."""
  wanted, python = ENVIRONMENTS[name], str(folder / "venv" / "bin" / "python")
  empty, logs = folder / "empty", folder / "logs"
  empty.mkdir()
  subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
  # Reports are written beside the logs they read.
  subprocess.run(["cp", "-r", str(ROOT / "notebooks" / "logs"), str(logs)], check=True)
  source, pip = str(ROOT), [python, "-m", "pip", "--disable-pip-version-check"]
  if wanted.wheel:
    built = run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], folder)
    if not built[0]:
      return [("pip wheel .", *built)]
    source = str(next(folder.glob("*.whl")))
  target = f"{source}[{wanted.extras}]" if wanted.extras else source
  shown = f"pip install '{'resjax.whl' if wanted.wheel else '.'}[{wanted.extras}]'"
  rows = [(shown, *run([*pip, "install", "--quiet", "--no-compile", target], folder))]
  if rows[0][1]:
    for command in wanted.commands:
      words = command.replace("LOGS", str(logs)).replace("NOTEBOOK", str(ROOT / "notebooks" / "01_read_the_logs.py"))
      arguments = [word.replace("~", " ").replace("&", " ") for word in words.split(" ")]
      program = [] if arguments[0] == "resjax" else [python]
      shown = " ".join([*(["python"] if program else []), command]).replace("~", " ").replace("&", " ")
      if not program:
        arguments[0] = str(folder / "venv" / "bin" / "resjax")
      rows.append((shown, *run([*program, *arguments], empty)))
  return rows


def main() -> int:
  """Tries the environments that the command line names, or all; returns the exit code."""
  names, failed = sys.argv[1:] or list(ENVIRONMENTS), 0
  if unknown := set(names) - set(ENVIRONMENTS):
    print(f"unknown environment {', '.join(sorted(unknown))}; there are {', '.join(ENVIRONMENTS)}", file=sys.stderr)
    return 2
  for name in names:
    with tempfile.TemporaryDirectory() as folder:
      for command, fine, seconds, last in attempt(name, Path(folder)):
        print(f"{name:10} {'ok' if fine else 'FAILED':7} {seconds:6.1f} s  {command[:110]}", flush=True)
        if not fine:
          print(f"{'':10} {last}", flush=True)
          failed = 1
  return failed


if __name__ == "__main__":
  sys.exit(main())
