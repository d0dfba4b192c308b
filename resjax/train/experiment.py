"""Trains the runs of an experiment, each in its run directory; then prints the table and builds the report."""

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from resjax import data, experiment_cli, files, listing, mesh, processes, records, settings
from resjax.analysis import page
from resjax.config import Config, Data
from resjax.data import AnyDataset
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.sweep import Run
from resjax.train import batched_runs, checkpoints, execution, loop, run_files
from resjax.train.progress import Progress
from resjax.train.run_log import DIVERGED, RunLog

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def run(question: str, runs: list[Run], workdir: str) -> int:
  """Starts or continues the runs in order; a failed run does not stop the others.

  Finished runs are skipped, and so are those that diverged. Runs that failed for another reason are tried again.

  Args:
    question: Question of the experiment, recorded with each run.
    runs: Runs of one experiment and variant.
    workdir: Work directory, on disk or in a bucket.

  Returns:
    The exit code.

  Raises:
    ConfigError: A data set, the mesh or an existing run directory does not fit the settings; nothing was written.
  """
  where = files.as_path(workdir)
  mesh.start_backend(where)
  return run_all(question, runs, where)


def run_all(question: str, runs: list[Run], workdir: Path) -> int:
  """Does what `run` does, once JAX has been started."""
  directories, datasets = prepare(question, runs, workdir)
  first = processes.is_first()
  if first:
    _report_diverged(directories)
  stop = processes.StopSignal()
  for group in _groups(runs, directories):
    if _train(group, datasets[group[0].run.config.data], directories, stop) == records.PREEMPTED:
      if first:
        ids = ", ".join(each.run.id for each in group)
        print(f"stopped by a signal after a save of {ids}; the same command continues there", file=sys.stderr)
      return experiment_cli.PREEMPTED
  failed = _print_table_and_report(runs, directories, workdir) if first else 0
  return experiment_cli.FAILED if processes.broadcast_from_first(failed) else experiment_cli.DONE


def prepare(question: str, runs: list[Run], workdir: Path) -> tuple[dict[str, Path], dict[Data, AnyDataset]]:
  """Checks everything that can be checked before anything is written, then writes missing run directories as pending.

  Args:
    question: Question of the experiment, recorded with each run.
    runs: Runs of one experiment and variant.
    workdir: Work directory.

  Returns:
    Run directories by the ids of the runs, and data sets by their settings.

  Raises:
    ConfigError: A data set, the mesh or an existing run directory does not fit the settings; nothing was written.
  """
  directories = {run.id: workdir / run.folder / run.id for run in runs}
  for each in runs:
    _check_directory(directories[each.id], each.config)
    mesh.make(each.config)
  datasets = {wanted: data.load(wanted) for wanted in dict.fromkeys(each.config.data for each in runs)}
  backbones = {}
  for each in runs:
    _check_images(each.config, datasets[each.config.data])
    if each.config.data.has_boxes:
      from resjax.detection import backbone  # needs the extra detection

      backbones[each.id] = backbone.check(each.config)
  first = processes.is_first()
  for each in runs:
    with RunWriter(directories[each.id], first) as writer:
      if not writer.run["config_digest"]:
        writer.write_config(each.config.to_dict())
        facts = _initial_values(each, question, datasets[each.config.data])
        writer.update(status=records.PENDING, backbone=backbones.get(each.id), **facts)
  return directories, datasets


def _print_table_and_report(runs: list[Run], directories: dict[str, Path], workdir: Path) -> int:
  """Prints the table of all runs and builds the report; returns the number of failed runs."""
  table = [records.read_run(directories[each.id]).run for each in runs]
  print(listing.table([_outcome(row) for row in table]))
  print(page.build(workdir / runs[0].folder))
  return sum(row["status"] == records.FAILED for row in table)


@dataclasses.dataclass(frozen=True)
class _UnfinishedRun:
  """A run with steps left.

  Attributes:
    run: The run.
    step: Step of its newest intact checkpoint; None: it starts from the first step.
    refused: Damaged checkpoints that are newer.
  """

  run: Run
  step: int | None
  refused: list[checkpoints.Refusal]


def _groups(runs: list[Run], directories: dict[str, Path]) -> list[list[_UnfinishedRun]]:
  """Returns the runs to train in order, grouped by `execution.runs_per_program` where they can be one program.

  Such runs have equal shared settings and their newest checkpoints at the same step. All processes return the same.

  Raises:
    ConfigError: A checkpoint belongs to a run with other settings.
  """
  first = processes.is_first()
  over = processes.broadcast_from_first([first and _is_over(directories[each.id]) for each in runs])
  by_program: dict[tuple[Config, int | None], list[_UnfinishedRun]] = {}
  for each in (each for each, is_over in zip(runs, over, strict=True) if not is_over):
    step, refused = checkpoints.newest_intact(directories[each.id] / run_files.CHECKPOINTS, each.config)
    by_program.setdefault((batched_runs.shared_config(each.config), step), []).append(
      _UnfinishedRun(each, step, refused)
    )
  most = runs[0].config.execution.runs_per_program
  return [group[i : i + most] for group in by_program.values() for i in range(0, len(group), most)]


def _is_over(directory: Path) -> bool:
  """Returns whether a run is done, or has diverged with these settings."""
  run = records.read_run(directory).run
  return run["status"] == records.DONE or _diverged(run)


def _diverged(run: dict[str, Any]) -> bool:
  return run["status"] == records.FAILED and (run["reason"] or "").startswith(DIVERGED)


def _report_diverged(directories: dict[str, Path]) -> None:
  """Prints which runs are not trained because they diverged before."""
  for run_id, directory in directories.items():
    run = records.read_run(directory).run
    if _diverged(run):
      print(f"{run_id} is not trained again: {run['reason']}; to try it again, delete {directory}", file=sys.stderr)


def _train(
  group: list[_UnfinishedRun],
  dataset: AnyDataset,
  directories: dict[str, Path],
  stop: processes.StopSignal,
) -> str:
  """Trains runs in one program; returns `preempted` if a signal stopped it, else the status of the last run."""
  first = processes.is_first()
  with contextlib.ExitStack() as stack:
    logs = []
    for each in group:
      run = each.run
      writer = stack.enter_context(RunWriter(directories[run.id], first))
      started = writer.run["started"] or records.utc_now()
      before, environment = (writer.run["execution"] or {}).get("convolution"), _environment(run.config)
      writer.update(status=records.RUNNING, reason=None, started=started, ended=None, **environment)
      now = environment["execution"]["convolution"]
      if each.step is not None and before != now:
        detail = f"{before or 'not recorded'} before, {now} from here on: not bit-identical to a run with one form"
        writer.event(each.step, "convolution changed", detail)
      progress = stack.enter_context(Progress(run.id, run.config.train.steps, 0, "step", visible=first))
      logs.append(RunLog(run.config, writer, progress, each.refused))
    try:
      outcomes = loop.train(logs, dataset, stop)
    except jax.errors.JaxRuntimeError as error:
      outcomes = [loop.Outcome(records.FAILED, _reason(error, group[0].run.config))] * len(group)
    for log, outcome in zip(logs, outcomes, strict=True):
      log.finish(outcome.status, outcome.reason)
  statuses = [outcome.status for outcome in outcomes]
  return records.PREEMPTED if records.PREEMPTED in statuses else statuses[-1]


def _reason(error: jax.errors.JaxRuntimeError, config: Config) -> str:
  """Returns the reason for run.json of an error of the device; if memory ran out, with settings that need less."""
  text = " ".join(str(error).split())[:500]
  if "RESOURCE_EXHAUSTED" not in text and "out of memory" not in text.lower():
    return text
  less = dict.fromkeys(("auto", "none", "elementwise"), "execution.remat=block or group, or ")
  less |= {"block": "execution.remat=group, or "}
  return (
    f"out of memory: needs {less.get(config.execution.remat, '')}a train.batch_size below {config.train.batch_size} "
    f"(or evaluation.batch_size below {config.evaluation.batch_size}, if it was testing); {text}"
  )


def _check_directory(directory: Path, config: Config) -> None:
  """Raises ConfigError if the run directory holds a run with other settings, or cannot take what it should hold."""
  if config.execution.profile and files.in_bucket(directory):
    raise ConfigError(f"execution.profile = {config.execution.profile}: must be 0 in a bucket ({directory})")
  if not (directory / "run.json").exists():
    return
  there = records.read_run(directory)
  if there.run["config_digest"] not in (None, config.digest):
    differences = settings.differences(there.config, config.to_dict())
    raise ConfigError(f"{directory} holds a run with another config: {differences}; choose another --workdir")


def _check_images(config: Config, dataset: AnyDataset) -> None:
  """Raises ConfigError if a capture takes more images than the data set has."""
  wanted = {} if config.data.has_boxes else {"responses": (config.responses.source, config.responses.images)}
  if config.gradients.used:
    wanted["gradients"] = "train", config.gradients.images
  for key, (source, images) in wanted.items():
    there = dataset.count(source)
    if images > there:
      raise ConfigError(f"{key}.images = {images}: must be at most {there}, the number of {source} images")


def _initial_values(each: Run, question: str, dataset: AnyDataset) -> dict[str, Any]:
  """Returns the values of run.json that are known before a run starts."""
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
      "form": dataset.form,
      "images": dataset.count("train"),
      "digest": dataset.digest,
    },
    "deviations": each.config.deviations(),
  }


def _environment(config: Config) -> dict[str, Any]:
  """Returns the values of run.json on the hardware and software that execute a run."""
  devices = mesh.make(config)
  first = devices.devices.flat[0]
  return {
    "devices": {
      "platform": first.platform,
      "kind": first.device_kind,
      "count": devices.size,
      "processes": jax.process_count(),
    },
    "execution": execution.record(config, listing.net(config), devices),
    "deviations": [*config.deviations(), *mesh.deviations(config, devices)],
    "versions": {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
    "commit": _commit(),
    "command": f"{experiment_cli.program_name()} {shlex.join(sys.argv[1:])}",
  }


def _commit() -> str | None:
  """Returns the commit of this code, with "+changes" appended if files differ from it.

  Outside a Git checkout it is the value of RESJAX_COMMIT, or None.
  """
  here = Path(__file__).parent
  try:
    ask = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes", "--match="]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return os.environ.get("RESJAX_COMMIT")


def _outcome(row: dict[str, Any]) -> dict[str, Any]:
  """Returns the row of a run in the final table, errors in percent."""
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
    "reason": row["reason"] or ", ".join(each["name"] for each in row["events"] if each["name"] == records.AT_CHANCE),
  }
