"""The runs of an experiment, one after another, each in its run directory; then the table and the report."""

import contextlib
import importlib.metadata
import platform
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from resjax import command, data, listing, mesh, records, settings
from resjax.analysis import page
from resjax.config import Config
from resjax.data import Dataset, FileDataset
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.sweep import Run
from resjax.train import checkpoints, loop, together
from resjax.train.journal import Journal
from resjax.train.progress import Progress

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def run(question: str, runs: list[Run], workdir: str) -> int:
  """Runs, or continues, the runs in order; finished ones are skipped, a failure does not stop the others.

  Args:
    question: of the experiment.
    runs: of one experiment and variant.
    workdir: the work directory.

  Returns:
    The exit code.

  Raises:
    ConfigError: a data set, the mesh or an existing run directory does not fit; nothing was written then.
  """
  mesh.start_backend(Path(workdir))
  directories = {run.id: Path(workdir) / run.folder / run.id for run in runs}
  for each in runs:
    _check_directory(directories[each.id], each.config)
    mesh.make(each.config)
  datasets = {wanted: data.load(wanted) for wanted in dict.fromkeys(each.config.data for each in runs)}
  for each in runs:
    _check_images(each.config, datasets[each.config.data])
  for each in runs:
    with RunWriter(directories[each.id]) as writer:
      if not writer.run:
        writer.write_config(each.config.to_dict())
        writer.update(status=records.PENDING, **_facts(each, question, datasets[each.config.data]))

  stop = _StopSignal()
  for group in _groups(runs, directories):
    if _train(group, datasets[group[0].config.data], directories, stop) == records.PREEMPTED:
      ids = ", ".join(each.id for each in group)
      print(f"stopped by a signal, saved at {ids}; the same command goes on there", file=sys.stderr)
      return command.PREEMPTED
  table = [records.read_run(directories[each.id]).run for each in runs]
  print(listing.table([_outcome(row) for row in table]))
  print(page.build(Path(workdir) / runs[0].folder))
  return command.FAILED if any(row["status"] == records.FAILED for row in table) else command.DONE


class _StopSignal:
  """Whether SIGTERM or SIGINT came; a second one ends the process at once."""

  def __init__(self) -> None:
    self._came = False
    for number in (signal.SIGTERM, signal.SIGINT):
      signal.signal(number, self._take)

  def __call__(self) -> bool:
    return self._came

  def _take(self, number: int, _: Any) -> None:
    self._came = True
    signal.signal(number, signal.SIG_DFL)


def _groups(runs: list[Run], directories: dict[str, Path]) -> list[list[Run]]:
  """Returns the unfinished runs in order, at most `execution.together` as a group where they can be one program.

  Such runs are of equal shape and have their newest checkpoints at one step.
  """
  alike: dict[tuple[Config, int | None], list[Run]] = {}
  for each in runs:
    if records.read_run(directories[each.id]).run["status"] != records.DONE:
      step = checkpoints.newest(directories[each.id] / "checkpoints")
      alike.setdefault((together.shape(each.config), step), []).append(each)
  most = runs[0].config.execution.together
  return [group[i : i + most] for group in alike.values() for i in range(0, len(group), most)]


def _train(group: list[Run], dataset: Dataset | FileDataset, directories: dict[str, Path], stop: _StopSignal) -> str:
  """Trains runs as one program; returns `preempted` if a signal stopped it, else what became of the last run."""
  with contextlib.ExitStack() as stack:
    journals = []
    for each in group:
      writer = stack.enter_context(RunWriter(directories[each.id]))
      started = writer.run["started"] or records.utc_now()
      writer.update(status=records.RUNNING, reason=None, started=started, ended=None, **_circumstances(each.config))
      journals.append(Journal(each.config, writer, stack.enter_context(Progress(each.id, each.config.train.steps))))
    try:
      outcomes = loop.train(journals, dataset, stop)
    except jax.errors.JaxRuntimeError as error:
      outcomes = [loop.Outcome(records.FAILED, " ".join(str(error).split())[:500])] * len(group)
    for each, journal, outcome in zip(group, journals, outcomes, strict=True):
      if outcome.reason:
        print(f"{each.id} failed: {outcome.reason}", file=sys.stderr)
      step = max((row["step"] for row in records.read_run(directories[each.id]).metrics), default=0)
      journal.writer.update(status=outcome.status, reason=outcome.reason, step=step, ended=records.utc_now())
  statuses = [outcome.status for outcome in outcomes]
  return records.PREEMPTED if records.PREEMPTED in statuses else statuses[-1]


def _check_directory(directory: Path, config: Config) -> None:
  """Raises ConfigError if the run directory belongs to a run with other settings."""
  if not (directory / "run.json").exists():
    return
  there = records.read_run(directory)
  if there.run["config_digest"] in (None, config.digest):
    return
  old, new = settings.flatten(there.config), settings.flatten(config.to_dict())
  keys = [key for key in {**new, **old} if old.get(key) != new.get(key) and not key.startswith("execution.")]
  differences = ", ".join(f"{key} ({old.get(key)!r} there, {new.get(key)!r} here)" for key in keys)
  raise ConfigError(f"{directory} holds a run with another config: {differences}; choose another --workdir")


def _check_images(config: Config, dataset: Dataset | FileDataset) -> None:
  """Raises ConfigError if there are fewer images than the responses are to be captured on."""
  source, wanted = config.responses.source, config.responses.images
  there = dataset.count(source)
  if wanted > there:
    raise ConfigError(f"responses.images = {wanted}: there are {there} {source} images")


def _facts(each: Run, question: str, dataset: Dataset | FileDataset) -> dict[str, Any]:
  """What run.json says of a run before it starts."""
  row = listing.row(each)
  return {
    **{key: row[key] for key in ("id", "experiment", "variant", "kind", "depth", "shortcut", "seed", "params", "macs")},
    "question": question,
    "config_digest": each.config.digest,
    "step": 0,
    "steps": each.config.train.steps,
    "data": {
      "name": dataset.name,
      "path": dataset.path,
      "images": dataset.count("train"),
      "digest": dataset.digest,
    },
    "deviations": each.config.deviations(),
  }


def _circumstances(config: Config) -> dict[str, Any]:
  """What run.json says of where and how a run is executed."""
  devices = mesh.make(config).devices.flat
  return {
    "devices": {
      "platform": devices[0].platform,
      "kind": devices[0].device_kind,
      "count": len(devices),
      "processes": jax.process_count(),
    },
    "versions": {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
    "commit": _commit(),
    "command": shlex.join(["python", "-m", "resjax.main", *sys.argv[1:]]),
  }


def _commit() -> str | None:
  """Returns the commit of this code, with "+changes" where files differ from it; None outside a checkout."""
  here = Path(__file__).parent
  try:
    ask = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes", "--match="]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None


def _outcome(row: dict[str, Any]) -> dict[str, Any]:
  """Returns a row of the table at the end; errors in percent."""
  result = row["result"] or {}

  def percent(key: str) -> str:
    return "" if result.get(key) is None else f"{100 * result[key]:.2f}"

  return {
    "id": row["id"],
    "status": row["status"],
    "step": f"{row['step']}/{row['steps']}",
    "train error %": percent("train_error"),
    "test error %": percent("test_error"),
    "best test error %": percent("best_test_error"),
    "reason": row["reason"] or "",
  }
