"""Study of networks before training: variances in the forward pass and gradients in the backward pass, by block."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from resjax import mesh, models, study_records
from resjax.config import Config
from resjax.config.runtime import ResponseCapture
from resjax.config.studies import Initialization
from resjax.data import Dataset, augment
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.studies import initial_gradients, segmented_model, trained_model
from resjax.sweep import Run
from resjax.train import experiment, responses, state
from resjax.train.progress import Progress

SIGNIFICANT_DIGITS = 6  # of the numbers in the records


def run(question: str, runs: list[Run], command: str, workdir: Path, settings: Initialization) -> list[dict[str, Any]]:
  """Computes the lines of init.jsonl that are not recorded yet, and writes them to the study records of each run.

  Run directories that do not exist are created with the status `pending`, so that the same experiment can be trained in
  them.

  Args:
    question: Question of the experiment.
    runs: Runs of one experiment and variant.
    command: Command line of the study, which is recorded.
    workdir: Work directory.
    settings: Settings of the study.

  Returns:
    Rows of the summary.

  Raises:
    ConfigError: The study does not support a network, or a data set or an existing run directory contradicts the
      settings.
  """
  for each in runs:
    _check(each)
  mesh.start_backend(workdir)
  directories, datasets = experiment.prepare(question, runs, workdir)
  rows = []
  with Progress("init", len(runs), 0, "network") as progress:
    for each in runs:
      directory = directories[each.id]
      with jax.set_mesh(trained_model.make_mesh(1)), study_records.writer(directory) as writer:
        rows.append(_study(each, directory, datasets[each.config.data], settings, writer))
        study_records.add_command(writer, directory, {"step": 0, "study": "init", "command": command})
      progress.show(1, each.id)
  return rows


def _check(each: Run) -> None:
  """Raises ConfigError if the study does not support the network or the data set of a run."""
  try:
    segmented_model.check(each.config.model)
  except ConfigError as error:
    raise ConfigError(f"{each.id}: {error}") from None
  if each.config.data.has_boxes:
    raise ConfigError(f"{each.id}: data.name = {each.config.data.name!r}: must be a classification data set")
  if each.config.data.is_streamed:
    raise ConfigError(
      f"{each.id}: data.resize = {each.config.data.resize}: must be (), because this study needs images held in memory"
    )


def _study(each: Run, directory: Path, dataset: Any, settings: Initialization, writer: RunWriter) -> dict[str, Any]:
  """Computes and writes the lines of one network if they are not recorded yet; returns its row of the summary."""
  there = dataset.count("train")
  count = min(settings.images, there)
  about = {"step": 0, "images": count, "seed": settings.seed}
  known = study_records.read(directory)[0]["init"]
  rows = [row for row in known if all(row[key] == value for key, value in about.items())]
  if not rows:
    rows = _rows(each.config, dataset, np.arange(count) * there // count, settings.seed)
    rows = [{**about, **row} for row in rows]
    writer.append("init", rows)
  first, middle, last = rows[0], rows[len(rows) // 2], rows[-1]
  return {
    "id": each.id,
    "blocks": len(rows),
    "input variance of first block": f"{first['input_variance']:.3g}",
    "of last block": f"{last['input_variance']:.3g}",
    "gradient norm at first block": f"{first['gradient_norm']:.3g}",
    "at last block": f"{last['gradient_norm']:.3g}",
    "gradient cosine at first block": _cosine(first),
    "at middle block": _cosine(middle),
  }


def _cosine(row: dict[str, Any]) -> str:
  return "" if row["gradient_cosine"] is None else f"{row['gradient_cosine']:.3g}"


def _rows(config: Config, dataset: Dataset, chosen: np.ndarray, seed: int) -> list[dict[str, Any]]:
  """Returns the lines of init.jsonl, one per block, without the keys that they share.

  Args:
    config: Settings of the run.
    dataset: Data set held in memory.
    chosen: Indices of the training images.
    seed: Seed of the random projection of the logits.
  """
  images = dataset.train_images[chosen]
  start = state.initial(config.model, config.train, dataset.classes, dataset.image_shape, config.seed)
  variables = {"params": start.params, "batch_stats": start.batch_stats}
  statistics = augment.statistics(dataset.train_images, config.data)
  capture = ResponseCapture(images=len(images), batch_size=len(images), mode="batch")
  net = models.build(config.model, dataset.classes)
  moments = responses.by_name(responses.capture(net, capture, variables, images, statistics))
  segmented = segmented_model.SegmentedModel(config.model, dataset.classes)
  variables = segmented.with_survival(variables)
  logs, cosines = jax.device_get(initial_gradients.block_gradients(segmented, variables, images, statistics, seed))
  positions = [(int(stage[5:]), block) for stage, blocks in segmented.stages.items() for block in range(1, blocks + 1)]
  rows = []
  for position, ((stage, block), log, cosine) in enumerate(zip(positions, logs, cosines, strict=True), 1):
    above = (len(positions) - position + 1) * config.model.structure.layers_per_block
    row: dict[str, Any] = {"position": position, "stage": stage, "block": block, "layers_above": above}
    for name in ("input", "branch"):
      means, variances = moments[f"stage{stage}/block{block}/{name}_response"]
      row |= {f"{name}_squared_mean": np.square(means.mean(-1)).mean()}
      row |= {f"{name}_variance": (variances.mean(-1) + means.var(-1)).mean()}
    row |= {"gradient_norm": np.exp(np.float64(log)), "gradient_cosine": np.float64(cosine)}
    rows.append(
      {
        key: float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value
        for key, value in row.items()
      }
    )
  return rows
