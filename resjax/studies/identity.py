"""Study of a trained network deepened by identity blocks and trained further, compared with training from scratch."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resjax import experiment_cli, files, mesh, models, records
from resjax.config import Config
from resjax.config.studies import Identity
from resjax.records import RunWriter
from resjax.studies import net2deeper
from resjax.studies.segmented_model import SegmentedModel
from resjax.studies.trained_model import TrainedModel, has_checkpoint
from resjax.sweep import Run
from resjax.train import evaluate, experiment, run_files, state
from resjax.train.checkpoints import Checkpoints
from resjax.train.progress import Progress

QUESTION = (
  "Does a network deepened by identity blocks keep its accuracy, and what does training reach from there and from "
  "scratch?"
)
VARIANT = "identity"  # variant of the runs' experiment
MOMENT_IMAGES = 1024  # training images for the statistics of norms in the new blocks of plain networks


def check(config: Config, settings: Identity) -> None:
  """Raises ConfigError if the network of a run cannot be deepened."""
  net2deeper.model(config.model, settings.depth)


def run(trained: TrainedModel, settings: Identity, writer: RunWriter) -> list[dict[str, Any]]:
  """Deepens a network and trains it further, and trains a network of the same depth from scratch.

  The change of the logits by deepening is recorded. The two trainings are runs of the experiment
  `<experiment>-identity` in the same work directory; the deepened network starts from a checkpoint of step 0. Runs that
  this study created are not studied. Without `settings.train` only the logits are compared.

  Args:
    trained: Network to study.
    settings: Settings of the study.
    writer: Writer of the study records.

  Returns:
    One row of the summary for each of the two runs, or one for the comparison.

  Raises:
    ConfigError: The images do not fit the network, or the run directories have other settings.
    KeyboardInterrupt: A signal stopped the training after its state was saved.
  """
  source = records.read_run(trained.directory).run
  if (source["variant"] or "").endswith(VARIANT):
    return []
  config = _config(trained.config, settings)
  if not settings.train:
    return [_compare(trained, config, settings, writer)]
  deepened, scratch = _runs(trained, source, config)
  workdir = files.absolute(trained.directory).parents[1]
  directory = workdir / deepened.folder / deepened.id
  facts = {"run": f"{deepened.folder}/{deepened.id}", "scratch": f"{scratch.folder}/{scratch.id}"}
  # The checkpoint of step 0 is written once; another number of images changes only the comparison.
  known = trained.recorded("identity", {"step": trained.step, "run": facts["run"]}) if has_checkpoint(directory) else []
  rows = [row for row in known if row["images"] == _images(trained, settings)]
  with Progress(f"identity {trained.id}", 1, len(rows[:1]), "net") as progress:
    if not rows:
      variables, found = _deepen(trained, config, settings)
      rows = [{"step": trained.step, **found, **facts}]
      if not known:
        _save(directory, trained, config, variables)
      writer.append("identity", rows)
      progress.show(1, f"logits differ by at most {found['difference']:.2g}")
  if experiment.run_all(QUESTION, [deepened, scratch], workdir) == experiment_cli.PREEMPTED:
    raise KeyboardInterrupt
  _record_origin(directory, trained)
  row = rows[-1]
  changed = _change_columns(row)
  first = {**dict.fromkeys(changed, ""), "depth": row["depth"]}  # for the network trained from scratch
  return [
    {"id": each.id, **(changed if each is deepened else first), **_outcome(workdir / each.folder / each.id)}
    for each in (deepened, scratch)
  ]


def _compare(trained: TrainedModel, config: Config, settings: Identity, writer: RunWriter) -> dict[str, Any]:
  """Records the change of the logits by deepening, unless it is recorded already; returns a row of the summary."""
  columns = {"step": trained.step, "depth": config.model.depth, "run": None, "scratch": None}
  rows = trained.recorded("identity", {**columns, "images": _images(trained, settings)})
  with Progress(f"identity {trained.id}", 1, len(rows[:1]), "net") as progress:
    if not rows:
      rows = [{**columns, **_deepen(trained, config, settings)[1]}]
      writer.append("identity", rows)
      progress.show(1, f"logits differ by at most {rows[0]['difference']:.2g}")
  return {"id": trained.id, **_change_columns(rows[-1])}


def _images(trained: TrainedModel, settings: Identity) -> int:
  """Returns the number of images on which the logits are compared."""
  return len(trained.sample("test", settings.images)[1])


def _change_columns(row: dict[str, Any]) -> dict[str, str]:
  """Returns the columns of the summary that describe the change by deepening."""
  return {
    "depth": f"{row['from_depth']} to {row['depth']}",
    "largest change of a logit": f"{row['difference']:.1e}",
    "error % after deepening": f"{100 * row['error']:.2f}",
  }


def _config(config: Config, settings: Identity) -> Config:
  """Returns the settings of the run of the deepened network and of the run from scratch."""
  steps = settings.steps or config.train.steps
  rate = settings.learning_rate or config.scaled_train.learning_rate

  def within_run(capture: Any) -> Any:
    return dataclasses.replace(capture, steps=tuple(step for step in capture.steps if step <= steps))

  return dataclasses.replace(
    config,
    model=net2deeper.model(config.model, settings.depth),
    train=dataclasses.replace(config.train, steps=steps, learning_rate=rate, rate_scale=0.0),
    responses=within_run(config.responses),
    gradients=within_run(config.gradients),
  )


def _runs(trained: TrainedModel, source: dict[str, Any], config: Config) -> tuple[Run, Run]:
  """Returns the run of the deepened network and the run from scratch, given run.json of the trained network."""
  old, new = f"-d{trained.config.model.depth}", f"-d{config.model.depth}"
  names = [f"{new}-from{trained.config.model.depth}", new]
  ids = [trained.id.replace(old, name, 1) if old in trained.id else trained.id + name for name in names]
  variant = "-".join(part for part in (source["variant"], VARIANT) if part)
  one, other = (Run(each, source["experiment"] or "converted", variant, config) for each in ids)
  return one, other


def _deepen(trained: TrainedModel, config: Config, settings: Identity) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the variables of the deepened network, and the values of identity.jsonl that describe the change."""
  start = state.initial(config.model, config.train, trained.classes, trained.image_shape, config.seed)
  fresh = {"params": start.params, "batch_stats": start.batch_stats}
  segmented = SegmentedModel(trained.config.model, trained.classes)
  training, _ = trained.sample("train", MOMENT_IMAGES)
  moments = net2deeper.stage_moments(segmented, settings.batch_size, trained.variables, training, trained.statistics)
  variables = net2deeper.variables(config.model, trained.variables, fresh, moments)
  images, labels = trained.sample("test", settings.images)
  nets = (trained.net, trained.variables), (models.build(config.model, trained.classes), variables)
  before, after = (
    np.asarray(evaluate.logits(net, settings.batch_size, tree, images, trained.statistics)) for net, tree in nets
  )
  error_before, error = (float((each.argmax(-1) != np.asarray(labels)).mean()) for each in (before, after))
  return variables, {
    "depth": config.model.depth,
    "from_depth": trained.config.model.depth,
    "difference": float(np.abs(before - after).max()),
    "error_before": error_before,
    "error": error,
    "images": len(labels),
  }


def _save(directory: Path, trained: TrainedModel, config: Config, variables: dict[str, Any]) -> None:
  """Writes the checkpoint of step 0 from which training starts."""
  start = state.initial(config.model, config.train, trained.classes, trained.image_shape, config.seed)
  start = dataclasses.replace(start, **variables)
  with Checkpoints(directory / run_files.CHECKPOINTS, config) as checkpoints:
    checkpoints.save(jax.device_put(jax.tree.map(jnp.asarray, start), mesh.replicated(jax.sharding.get_mesh())))


def _record_origin(directory: Path, trained: TrainedModel) -> None:
  """Adds the origin of the initial weights to the deviations of a run."""
  name = "initial weights"
  with RunWriter(directory) as writer:
    there = [row for row in writer.run["deviations"] if row["name"] != name]
    origin = f"those of {trained.id} at step {trained.step}, deepened by identity blocks"
    writer.update(deviations=[*there, {"name": name, "paper": "random", "here": origin}])


def _outcome(directory: Path) -> dict[str, str]:
  run = records.read_run(directory).run
  error = run["result"]["test_error"]
  return {"status": run["status"], "error % after training": "" if error is None else f"{100 * error:.2f}"}
