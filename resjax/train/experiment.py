"""Training of the runs of an experiment, each in its run directory, followed by the results table and the report."""

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax

from resjax import data, experiment_cli, files, listing, mesh, processes, records, settings
from resjax.analysis import page
from resjax.config import Config, Data, effects
from resjax.data import AnyDataset, DetectionDataset
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.sweep import Run
from resjax.train import checkpoints, loop, provenance, run_files
from resjax.train.progress import Progress
from resjax.train.run_log import RunLog


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
  """Does the work of `run` after JAX has been started; arguments, result and errors are the same."""
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
    _check_captures(each.config, datasets[each.config.data])
    dataset = datasets[each.config.data]
    _check_data(directories[each.id], dataset)
    if isinstance(dataset, DetectionDataset):
      from resjax.detection import backbone, batches  # needs the extra detection

      backbones[each.id] = backbone.check(each.config)
      batches.check_objects(dataset.train, each.config.detection)
  first = processes.is_first()
  for each in runs:
    with RunWriter(directories[each.id], first) as writer:
      if not writer.run["config_digest"]:
        writer.write_config(each.config.to_dict())
        facts = provenance.of_run(each, question, datasets[each.config.data])
        writer.update(status=records.PENDING, backbone=backbones.get(each.id), **facts)
  return directories, datasets


def _print_table_and_report(runs: list[Run], directories: dict[str, Path], workdir: Path) -> int:
  """Prints the table of all runs and builds the report; returns the number of failed runs."""
  table = [records.read_run(directories[each.id]).run for each in runs]
  print(listing.table([_result_row(row) for row in table]))
  print(page.build(workdir / runs[0].folder))
  return sum(row["status"] == records.FAILED for row in table)


@dataclasses.dataclass(frozen=True)
class _UnfinishedRun:
  """A run with steps left.

  Attributes:
    run: The run.
    step: Step of its newest intact checkpoint; None: it starts from the first step.
    refused: Damaged checkpoints of later steps.
  """

  run: Run
  step: int | None
  refused: list[checkpoints.Refusal]


def _groups(runs: list[Run], directories: dict[str, Path]) -> list[list[_UnfinishedRun]]:
  """Returns the runs to train in order, in groups of up to `execution.runs_per_program` that are one program.

  Runs can be trained in one program if their shared settings are equal and their newest checkpoints are of the same
  step. All processes return the same groups.

  Raises:
    ConfigError: A checkpoint belongs to a run with other settings.
  """
  first = processes.is_first()
  finished_runs = processes.broadcast_from_first([first and _is_finished(directories[each.id]) for each in runs])
  by_program: dict[tuple[Config, int | None], list[_UnfinishedRun]] = {}
  for each in (each for each, finished in zip(runs, finished_runs, strict=True) if not finished):
    step, refused = checkpoints.newest_intact(directories[each.id] / run_files.CHECKPOINTS, each.config)
    by_program.setdefault((each.config.shared, step), []).append(_UnfinishedRun(each, step, refused))
  most = runs[0].config.execution.runs_per_program
  return [group[i : i + most] for group in by_program.values() for i in range(0, len(group), most)]


def _is_finished(directory: Path) -> bool:
  """Returns whether a run is done or has diverged, so that it is not trained again."""
  run = records.read_run(directory).run
  return run["status"] == records.DONE or _diverged(run)


def _diverged(run: dict[str, Any]) -> bool:
  return run["status"] == records.FAILED and (run["reason"] or "").startswith(records.DIVERGED)


def _report_diverged(directories: dict[str, Path]) -> None:
  """Prints which runs are not trained because they diverged in an earlier call."""
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
      before, environment = (writer.run["execution"] or {}).get("convolution"), provenance.of_environment(run.config)
      writer.update(status=records.RUNNING, reason=None, started=started, ended=None, **environment)
      now = environment["execution"]["convolution"]
      if each.step is not None and before != now:
        detail = (
          f"{before or 'not recorded'} before, {now} from this step on: not bit-identical to an uninterrupted run"
        )
        writer.event(each.step, "convolution changed", detail)
      progress = stack.enter_context(Progress(run.id, run.config.train.steps, 0, "step", visible=first))
      logs.append(RunLog(run.config, writer, progress, each.refused))
    try:
      outcomes = loop.train(logs, dataset, stop)
    except jax.errors.JaxRuntimeError as error:
      outcomes = [loop.Outcome(records.FAILED, _device_failure(error, group[0].run.config))] * len(group)
    for log, outcome in zip(logs, outcomes, strict=True):
      log.finish(outcome.status, outcome.reason)
  statuses = [outcome.status for outcome in outcomes]
  return records.PREEMPTED if records.PREEMPTED in statuses else statuses[-1]


def _device_failure(error: jax.errors.JaxRuntimeError, config: Config) -> str:
  """Returns the reason for run.json of a device error; if memory ran out, it names settings that need less."""
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
  """Raises ConfigError if the settings do not fit the directory.

  It contains a run with other settings, it is in a bucket and a trace is asked, or a new run would not save the
  checkpoints that it is to keep. Runs of earlier versions, which did not check the latter, can be continued.
  """
  if config.execution.profile and files.in_bucket(directory):
    raise ConfigError(f"execution.profile = {config.execution.profile}: must be 0 in a bucket ({directory})")
  if not (directory / "run.json").exists():
    effects.check_checkpoints(config)
    return
  there = records.read_run(directory)
  if there.run["config_digest"] not in (None, config.digest):
    differences = settings.differences(there.config, config.to_dict())
    raise ConfigError(f"{directory} holds a run with another config: {differences}; choose another --workdir")


def _check_data(directory: Path, dataset: AnyDataset) -> None:
  """Raises ConfigError if the directory contains a run on other data, also if only their split has changed."""
  recorded = records.read_run(directory).run["data"]["digest"] if (directory / "run.json").exists() else None
  if recorded and recorded != dataset.digest:
    raise ConfigError(
      f"{directory} holds a run on other data: {dataset.path or dataset.name} has the digest {dataset.digest[:12]}…, "
      f"must be {recorded[:12]}…; restore the files, or choose another --workdir"
    )


def _check_captures(config: Config, dataset: AnyDataset) -> None:
  """Raises ConfigError if a capture takes more images than the data set has."""
  wanted = {} if config.data.has_boxes else {"responses": (config.responses.source, config.responses.images)}
  if config.gradients.used:
    wanted["gradients"] = "train", config.gradients.images
  for key, (source, images) in wanted.items():
    there = dataset.count(source)
    if images > there:
      raise ConfigError(f"{key}.images = {images}: must be at most {there}, the number of {source} images")


def _result_row(row: dict[str, Any]) -> dict[str, Any]:
  """Returns the row of a run in the results table, from its run.json; errors are in percent."""
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
