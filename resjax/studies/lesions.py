"""Study of lesions: the error of a trained network with blocks deleted, swapped or reordered (Veit et al. 2016)."""

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from resjax import mesh, study_records
from resjax.config import Config
from resjax.config.studies import Lesions
from resjax.records import RunWriter
from resjax.studies import segmented_model
from resjax.studies.lesion_forward import LesionedModel
from resjax.studies.lesion_plans import Lesion, arrays, draw
from resjax.studies.trained_model import TrainedModel
from resjax.study_records import DELETE, NONE
from resjax.train.progress import Progress

LESIONS_PER_PROGRAM = 15  # lesions tested by one call, in addition to the undisturbed network
KEY = (
  *("step", "kind", "stage", "block", "count", "trial", "seed"),
  *("reestimated", "statistics_images", "batch_size", "images"),
)


def check(config: Config, _: Lesions) -> None:
  """Raises ConfigError if the network of a run is not supported."""
  segmented_model.check(config.model)


def run(trained: TrainedModel, settings: Lesions, writer: RunWriter) -> list[dict[str, Any]]:
  """Tests lesions that are not recorded yet, and writes the results to the study records.

  Args:
    trained: Network to study.
    settings: Settings of the study.
    writer: Writer of the study records.

  Returns:
    One row of the summary with the batch statistics of training, one with reestimated statistics, or both.

  Raises:
    ConfigError: The images do not fit the network.
  """
  images, labels = trained.sample("test", settings.images)
  segmented = segmented_model.SegmentedModel(trained.config.model, trained.classes)
  tests = _Tests(trained, settings, segmented, images, labels)
  lesions = draw(list(segmented.stages.values()), settings)
  wanted = [tests.line(lesion, reestimated) for reestimated in tests.modes for lesion in lesions]
  known = {_key(row) for row in study_records.read(trained.directory)[0]["lesions"]}
  missing = {
    reestimated: [lesion for lesion in lesions if _key(tests.line(lesion, reestimated)) not in known]
    for reestimated in tests.modes
  }
  left = sum(map(len, missing.values()))
  with Progress(f"lesion {trained.id}", len(wanted), len(wanted) - left, "lesion") as progress:
    for reestimated, part in missing.items():
      for lines in tests.results(lesions[0], part, reestimated):
        writer.append("lesions", lines)
        progress.show(len(lines), f"{lines[-1]['kind']} error {100 * lines[-1]['error']:.2f}%")
  keys = {_key(row) for row in wanted}
  rows = [row for row in study_records.read(trained.directory)[0]["lesions"] if _key(row) in keys]
  return [
    _summary(trained.id, [row for row in rows if row["reestimated"] == reestimated], reestimated)
    for reestimated in tests.modes
  ]


@dataclasses.dataclass(frozen=True)
class _Tests:
  """Tests of lesions of one network on given images."""

  trained: TrainedModel
  settings: Lesions
  segmented: segmented_model.SegmentedModel
  images: jax.Array
  labels: jax.Array

  @property
  def modes(self) -> tuple[bool, ...]:
    """Whether to reestimate batch statistics: (False,), (True,) or both in turn."""
    return {"no": (False,), "yes": (True,), "both": (False, True)}[self.settings.reestimate]

  def line(self, lesion: Lesion, reestimated: bool) -> dict[str, Any]:
    """Returns a line of lesions.jsonl without its result."""
    return {
      "step": self.trained.step,
      **lesion.columns(),
      "reestimated": reestimated,
      "statistics_images": self.settings.statistics_images if reestimated else None,
      "batch_size": self.settings.batch_size if reestimated else None,
      "images": len(self.labels),
      "source": "test",
    }

  def results(
    self, undisturbed: Lesion, lesions: Sequence[Lesion], reestimated: bool
  ) -> Iterator[list[dict[str, Any]]]:
    """Yields the lines of lesions in chunks; the first chunk includes the undisturbed network if it is in `lesions`."""
    asked = undisturbed in lesions
    others = [lesion for lesion in lesions if lesion != undisturbed]
    chunks = [others[at : at + LESIONS_PER_PROGRAM] for at in range(0, len(others), LESIONS_PER_PROGRAM)]
    for number, chunk in enumerate(chunks or ([[]] if asked else [])):
      # All chunks have the same shape, so that one program serves all.
      filled = [undisturbed, *chunk, *[undisturbed] * (LESIONS_PER_PROGRAM - len(chunk))]
      losses, wrongs = jax.device_get(self._test(filled, reestimated))
      lines = [
        {
          **self.line(lesion, reestimated),
          "error": float(wrong) / len(self.labels),
          "loss": float(loss) / len(self.labels),
        }
        for lesion, loss, wrong in zip(filled, losses, wrongs, strict=True)
      ]
      yield lines[0 if asked and number == 0 else 1 : len(chunk) + 1]

  def _test(self, lesions: Sequence[Lesion], reestimated: bool) -> tuple[jax.Array, jax.Array]:
    """Tests lesions, the first of which must be the undisturbed network."""
    trained, variables = self.trained, self.segmented.with_survival(self.trained.variables)
    plans = jax.device_put(arrays(lesions), mesh.replicated(jax.sharding.get_mesh()))
    model = LesionedModel(self.segmented, self.settings.batch_size, variables, plans, trained.statistics)
    if reestimated:
      training, _ = trained.sample("train", self.settings.statistics_images)
      own = model.reestimate(training)
      # The blocks before a lesion are those of the undisturbed network, whose statistics are reestimated, too.
      model = dataclasses.replace(model, variables={**variables, "batch_stats": segmented_model.select_block(own, 0)})
    else:
      own = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(lesions), *leaf.shape)), variables["batch_stats"])
    return model.test(own, self.images, self.labels)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
  return tuple(row[key] for key in KEY)


def _summary(name: str, rows: list[dict[str, Any]], reestimated: bool) -> dict[str, Any]:
  """Returns a row with the errors, in percent, of the undisturbed network and of those with one block deleted."""
  (undisturbed,) = [row["error"] for row in rows if row["kind"] == NONE]
  single = [row["error"] for row in rows if row["kind"] == DELETE]
  return {
    "id": name,
    "statistics": "reestimated" if reestimated else "of training",
    "images": rows[0]["images"],
    "error %": f"{100 * undisturbed:.2f}",
    "one block deleted: median %": f"{100 * statistics.median(single):.2f}",
    "lowest %": f"{100 * min(single):.2f}",
    "highest %": f"{100 * max(single):.2f}",
  }
