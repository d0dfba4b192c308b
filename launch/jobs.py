"""The runs of a command line as jobs: the command that starts each, and what its run directory says of it."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from resjax import experiment_cli, listing, records
from resjax.settings import ConfigError
from resjax.sweep import Run

WORKDIR = flags.DEFINE_string("workdir", "runs", "Directory of the run directories, where the runs are executed.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be sent, and send nothing.")
STATUS = flags.DEFINE_bool("status", False, "Print what the run directories say of the runs, and send nothing.")
# What the launchers need that others do not, by the name it is imported by, and the extra that brings it.
EXTRAS = {"submitit": "slurm", "google": "cloud", "grpc": "cloud", "yaml": "k8s"}


@dataclasses.dataclass(frozen=True)
class Job:
  """One run to be started.

  Attributes:
    run: the run.
    index: its row of `--list`.
    chosen: the arguments that name the runs.
    workdir: the work directory, as it is called where the run is executed.
  """

  run: Run
  index: int
  chosen: tuple[str, ...]
  workdir: str

  @property
  def directory(self) -> Path:
    """Its run directory."""
    return Path(self.workdir) / self.run.folder / self.run.id

  def command(self, python: str) -> list[str]:
    """Returns the command line that starts or continues the run."""
    where = f"--workdir={self.workdir}"
    return [python, "-m", "resjax.main", *self.chosen, where, f"--index={self.index}"]


def start(main: Callable[[], int]) -> None:
  """Starts a launcher: as `experiment_cli.run`, and a package that is missing is one line that names the extra."""
  experiment_cli.run(lambda: with_extras(main))


def with_extras(main: Callable[[], int]) -> int:
  """Returns what `main` does; a package that an extra would bring is a ConfigError that names it."""
  try:
    return main()
  except ModuleNotFoundError as error:
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
      raise
    raise ConfigError(f"needs {error.name}: install the extra {EXTRAS[package]}") from error


def chosen(bucket: bool = False) -> list[Job]:
  """Returns the runs of the command line, in the order of `--list`.

  Args:
    bucket: the work directory may be in one.

  Raises:
    ConfigError: the command line names none, or a work directory where this launcher has none.
  """
  if "://" in WORKDIR.value and not bucket:
    raise ConfigError(f"--workdir {WORKDIR.value!r}: must be a directory; only launch.tpu takes a bucket")
  runs, first = experiment_cli.selected_runs()[1], experiment_cli.INDEX.value or 0
  arguments = tuple(experiment_cli.arguments_for_same_runs())
  return [Job(run, first + i, arguments, WORKDIR.value) for i, run in enumerate(runs)]


def unfinished(jobs: list[Job]) -> list[Job]:
  """Returns the jobs whose runs are not done."""
  return [job for job in jobs if _record(job)["status"] != records.DONE]


def table(jobs: list[Job]) -> str:
  """Returns what the run directories say: a row a run."""
  return listing.table([_row(job) for job in jobs])


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
    "last sign": f"{_duration(time.time() - max(logs))} ago" if logs else "",
    "reason": run["reason"] or "",
  }


def _record(job: Job) -> dict[str, Any]:
  if not (job.directory / "run.json").exists():
    return {"status": "not begun", "result": None, "reason": None}
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
