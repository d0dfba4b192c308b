"""Runs selected by a command line as jobs: the command that starts each, and its status from the run directory."""

import dataclasses
import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from resjax import experiment_cli, listing, records
from resjax.settings import ConfigError
from resjax.sweep import Run

WORKDIR = flags.DEFINE_string("workdir", "runs", "Work directory on the machines that execute the runs.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the jobs without starting them.")
STATUS = flags.DEFINE_bool("status", False, "Print the status of the runs without starting any.")
# Extra that installs each module that only the launchers need.
EXTRAS = {"submitit": "slurm", "google": "cloud", "grpc": "cloud", "yaml": "k8s"}


@dataclasses.dataclass(frozen=True)
class Job:
  """A run to be started.

  Attributes:
    run: Run.
    index: 0-based row of the run in `--list`.
    chosen: Command-line arguments that select the runs.
    workdir: Work directory on the machine that executes the run.
  """

  run: Run
  index: int
  chosen: tuple[str, ...]
  workdir: str

  @property
  def directory(self) -> Path:
    """Run directory."""
    return Path(self.workdir) / self.run.folder / self.run.id

  def command(self, python: str) -> list[str]:
    """Returns the command line that starts or continues the run."""
    where = f"--workdir={self.workdir}"
    return [python, "-m", "resjax.main", *self.chosen, where, f"--index={self.index}"]


def start(main: Callable[[], int]) -> None:
  """Runs a launcher like `experiment_cli.run`; a missing package is an error that names the extra to install."""
  experiment_cli.run(lambda: with_extras(main))


def with_extras(main: Callable[[], int]) -> int:
  """Returns the exit code of `main`.

  Raises:
    ConfigError: A package is missing; the message names the extra that installs it.
  """
  try:
    return main()
  except ModuleNotFoundError as error:
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
      raise
    raise ConfigError(f"needs {error.name}: install the extra {EXTRAS[package]}") from error


def selected_jobs(bucket: bool = False) -> list[Job]:
  """Returns the runs that the command line selects, in the order of `--list`.

  Args:
    bucket: Whether the launcher supports a work directory in a bucket.

  Raises:
    ConfigError: The command line selects no run, or the work directory is in a bucket and must not be.
  """
  if "://" in WORKDIR.value and not bucket:
    raise ConfigError(f"--workdir {WORKDIR.value!r}: must be a directory; only launch.tpu takes a bucket")
  runs, first = experiment_cli.selected_runs()[1], experiment_cli.INDEX.value or 0
  arguments = tuple(experiment_cli.arguments_for_same_runs())
  return [Job(run, first + i, arguments, WORKDIR.value) for i, run in enumerate(runs)]


def unfinished(jobs: list[Job]) -> list[Job]:
  """Returns the jobs whose runs are not finished."""
  return [job for job in jobs if _record(job)["status"] != records.DONE]


def table(jobs: list[Job]) -> str:
  """Returns a table of the status of the runs, one row per run."""
  return listing.table([_row(job) for job in jobs])


def print_copied_status(jobs: list[Job], flag: str) -> int:
  """Prints the status of runs whose records are elsewhere, from their copy or mount on this machine.

  Args:
    jobs: Jobs, whose work directory is the directory on this machine.
    flag: Name of the flag that gives this directory.

  Returns:
    Exit code.

  Raises:
    ConfigError: There is no such directory.
  """
  directory = Path(jobs[0].workdir)
  if not directory.is_dir():
    raise ConfigError(
      f"--{flag} {str(directory)!r}: --status reads this directory on this machine, and it does not exist; name the "
      "directory with the records, their copy or the mounted volume"
    )
  print(f"Records in {directory.absolute()}:\n{table(jobs)}")
  return experiment_cli.DONE


def label(text: str, length: int) -> str:
  """Returns a label for a text, of lowercase letters, digits and inner hyphens, which all cluster APIs allow in names.

  Underscores become hyphens. If the text has other characters or is too long, a digest is appended, so that the labels
  of different texts differ.

  Args:
    text: Text.
    length: Largest length of the label, more than 9.
  """
  readable = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
  if len(readable) <= length and readable.replace("-", "_") == text:
    return readable
  return f"{readable[: length - 9].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def _row(job: Job) -> dict[str, Any]:
  run = _record(job)
  error = (run["result"] or {}).get("test_error")
  logs = [path.stat().st_mtime for path in job.directory.glob("*.json*")]
  return {
    "index": job.index,
    "id": job.run.id,
    "status": run["status"],
    "step": f"{_last_step(job)}/{job.run.config.train.steps}",
    "test error %": "" if error is None else f"{100 * error:.2f}",
    "last update": f"{_duration(time.time() - max(logs))} ago" if logs else "",
    "reason": run["reason"] or "",
  }


def _record(job: Job) -> dict[str, Any]:
  if not (job.directory / "run.json").exists():
    return {"status": "not started", "result": None, "reason": None}
  return records.read_run(job.directory).run


def _last_step(job: Job) -> int:
  if not (job.directory / "run.json").exists():
    return 0
  return max((row["step"] for row in records.read_run(job.directory).metrics), default=0)


def _duration(seconds: float) -> str:
  for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
    if seconds >= 2 * size:
      return f"{seconds / size:.0f} {unit}"
  return f"{seconds:.0f} s"
