"""Study of layers: class separation and probe errors of the features of each block, and CKA between blocks."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resjax import files
from resjax.config import Config
from resjax.config.studies import Layers
from resjax.models import layout
from resjax.records import RunWriter
from resjax.settings import ConfigError, freeze
from resjax.studies import cka, layer_measures, segmented_model, trained_model
from resjax.studies.layer_features import Features, capture
from resjax.studies.trained_model import TrainedModel
from resjax.study_records import SIMILAR_CKA
from resjax.train.progress import Progress

DECIMALS = 4  # of the CKA values in the records
SIGNIFICANT_DIGITS = 6  # of the other measures in the records


def study_settings(_: Config, given: Mapping[str, Any]) -> Layers:
  """Returns the settings of the study, after checking that a network with which others are compared is supported."""
  settings = freeze(Layers, given)
  if settings.other:
    directory = _other_directory(settings)
    if not trained_model.has_checkpoint(directory):
      raise ConfigError(f"other = {settings.other!r}: has no checkpoint; choose a run directory with one")
    try:
      (other,) = trained_model.find(directory, "").values()
      segmented_model.check(other.model, remedy="choose another network")
    except ConfigError as error:
      raise ConfigError(f"other = {settings.other!r}: {error}") from None
  return settings


def check(config: Config, _: Layers) -> None:
  """Raises ConfigError if the study does not support the network of a run."""
  segmented_model.check(config.model)


def run(trained: TrainedModel, settings: Layers, writer: RunWriter) -> list[dict[str, Any]]:
  """Computes the lines of layers.jsonl and cka.jsonl that are not recorded yet, and writes them.

  Args:
    trained: Network to study.
    settings: Settings of the study.
    writer: Writer of the study records.

  Returns:
    One row of the summary.

  Raises:
    ConfigError: The images do not fit the network, or the network it is compared with.
  """
  other = None
  if settings.other and files.absolute(_other_directory(settings)) != files.absolute(trained.directory):
    other = trained_model.read(_other_directory(settings), trained.config.data.path)
    if other.image_shape != trained.image_shape:
      raise ConfigError(
        f"other = {settings.other!r}: must take images of shape {trained.image_shape}, not {other.image_shape}"
      )
  test = _images(trained, settings, "test")
  about = {
    "step": trained.step,
    "every": settings.every,
    "cka_images": settings.cka_images,
    "test_images": len(test[1]),
  }
  rows = trained.recorded("layers", {**about, "images": len(_images(trained, settings, "train")[1])})
  wanted = [None] if other is None else [None, other]
  matrices = [(each, {**about, **_matrix_columns(trained, settings, each)}) for each in wanted]
  missing = [(each, columns) for each, columns in matrices if not trained.recorded("cka", columns)]
  with Progress(f"layers {trained.id}", 2, 2 - bool(missing) - (not rows), "part") as progress:
    if missing or not rows:
      features = _features(trained, settings, test[0])
    if not rows:
      rows = _rows(trained, settings, features, about, np.asarray(test[1]))
      writer.append("layers", rows)
      progress.show(1, "probes")
    if missing:
      for each, columns in missing:
        writer.append("cka", _cka_rows(settings, features, columns, each, test[0]))
      progress.show(1, "CKA")
  return [_summary(trained.id, rows)]


def _other_directory(settings: Layers) -> Path:
  """Returns the run directory of the network to compare with."""
  directory = files.as_path(settings.other)
  if not (directory / "run.json").is_file():
    raise ConfigError(f"other = {settings.other!r}: must be a run directory, but contains no run.json")
  return directory


def _images(trained: TrainedModel, settings: Layers, split: str) -> tuple[jax.Array, jax.Array]:
  if settings.every:
    return trained.every_nth(split, settings.images, settings.every)
  return trained.sample(split, settings.images)


def _features(trained: TrainedModel, settings: Layers, images: jax.Array) -> Features:
  segmented = segmented_model.SegmentedModel(trained.config.model, trained.classes)
  variables = segmented.with_survival(trained.variables)
  return capture(segmented, settings.batch_size, variables, images, trained.statistics)


def _rows(
  trained: TrainedModel, settings: Layers, test: Features, about: dict[str, Any], test_labels: np.ndarray
) -> list[dict[str, Any]]:
  """Returns the lines of layers.jsonl.

  Args:
    trained: Network to study.
    settings: Settings of the study.
    test: Features of the test images.
    about: Keys and values that all lines share.
    test_labels: Classes of the test images, int32 [images].
  """
  images, labels = _images(trained, settings, "train")
  train, labels = _features(trained, settings, images), np.asarray(labels)
  steps = _steps(test)
  similarities = [None, *(_pair_cka(pair, settings) for pair in itertools.pairwise(test.pooled))]
  last_stage = len(test.positions) - len(test.logits)  # position of its first block
  rows = []
  for position, ((stage, block), features, known) in enumerate(
    zip(test.positions, train.pooled, test.pooled, strict=True)
  ):
    # The features of a network that diverged are not finite.
    finite = bool(np.isfinite(features).all() and np.isfinite(known).all())
    probe = (features, labels), (known, test_labels)
    error = loss = None
    if position >= last_stage:
      error, loss = layer_measures.logits_error_and_loss(test.logits[position - last_stage], test_labels)
    length, alignment = steps.get(position, (None, None))
    rows.append(
      {
        **about,
        "images": len(labels),
        "position": position,
        "stage": stage or None,
        "block": block or None,
        "channels": features.shape[1],
        "separation": _rounded(layer_measures.separation(features, labels)) if finite else None,
        "nearest_mean_error": layer_measures.nearest_mean_error(*probe) if finite else None,
        "ridge_error": layer_measures.ridge_error(*probe) if finite else None,
        "head_error": error,
        "head_loss": _rounded(loss),
        "step_length": _rounded(length),
        "alignment": _rounded(alignment),
        "cka_previous": _rounded(similarities[position]),
      }
    )
  return rows


def _rounded(value: float | None) -> float | None:
  """Returns a number rounded to `SIGNIFICANT_DIGITS` significant digits."""
  return None if value is None else float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def _pair_cka(pair: tuple[np.ndarray, np.ndarray], settings: Layers) -> float:
  """Returns the CKA of two arrays of features, each [images, channels]."""
  one, other = pair
  return float(cka.cka([one], [other], settings.cka_images)[0, 0])


def _steps(features: Features) -> dict[int, tuple[float, float]]:
  """Returns length and alignment of the step to each position from the one before, see `layer_measures.steps`.

  The path of a stage starts at the input of the stage if that has the same number of channels, and otherwise at the
  output of its first block.
  """
  found: dict[int, tuple[float, float]] = {}
  channels = [pooled.shape[1] for pooled in features.pooled]
  for stage in range(1, features.positions[-1].stage + 1):
    own = [position for position, place in enumerate(features.positions) if place.stage == stage]
    start = own[0] - (channels[own[0] - 1] == channels[own[0]])
    path = features.pooled[start : own[-1] + 1]
    if len(path) > 2:  # the length and alignment of a single step are 1
      found |= dict(enumerate(layer_measures.steps(path), start + 1))
  return found


def _cka_rows(
  settings: Layers, features: Features, columns: dict[str, Any], other: TrainedModel | None, images: jax.Array
) -> list[dict[str, Any]]:
  """Returns the lines of cka.jsonl of a network with itself or with another network.

  Args:
    settings: Settings of the study.
    features: Features of the test images in the network.
    columns: Keys and values that all lines share.
    other: Other network; None for the network itself.
    images: Test images, uint8 [images, height, width, channels].
  """
  theirs = features if other is None else _features(other, settings, images)
  tile, other_tile = columns["tile"], columns["other_tile"]
  values = cka.tile_means(cka.cka(features.pooled, theirs.pooled, settings.cka_images), tile, other_tile)
  return [{**columns, "first": row * tile, "values": list(np.round(line, DECIMALS))} for row, line in enumerate(values)]


def _matrix_columns(trained: TrainedModel, settings: Layers, other: TrainedModel | None) -> dict[str, Any]:
  """Returns the keys of cka.jsonl that tell the other network and the tiles of a matrix, with their values."""

  def tile(net: TrainedModel) -> int:
    positions = sum(net.config.model.structure.blocks_per_stage) + 1
    return -(-positions // settings.tiles)

  return {
    "other": other.id if other else None,
    "other_step": other.step if other else None,
    "other_digest": layout.digest(other.variables["params"]) if other else None,  # ids repeat in other experiments
    "tile": tile(trained),
    "other_tile": tile(other or trained),
  }


def _summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
  """Returns the row of the summary: the decrease of D with depth, and the errors at the last block."""
  fall = {row["position"]: float(np.log(row["separation"])) for row in rows if row["separation"]}
  correlation = slope = np.nan
  if len(fall) > 2:
    places, logs = np.array(list(fall), float), np.array(list(fall.values()))
    correlation, slope = float(np.corrcoef(places, logs)[0, 1]), float(np.polyfit(places, logs, 1)[0])
  last = rows[-1]
  return {
    "id": name,
    "blocks": len(rows) - 1,
    "correlation of log D and block": f"{correlation:.3f}",
    "factor per block": f"{np.exp(slope):.3f}",
    f"CKA > {SIMILAR_CKA} to previous": sum((row["cka_previous"] or 0) > SIMILAR_CKA for row in rows),
    "last block: nearest mean %": _percent(last["nearest_mean_error"]),
    "ridge %": _percent(last["ridge_error"]),
    "head %": _percent(last["head_error"]),
  }


def _percent(error: float | None) -> str:
  return "" if error is None else f"{100 * error:.1f}"
