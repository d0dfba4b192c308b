"""Test of an imported network: its error and layer responses (Fig. 7), and their record in its run directory."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resjax import mesh, models
from resjax.config import Execution
from resjax.evaluation import protocols, score
from resjax.evaluation.ensemble import size_of
from resjax.evaluation.images import ImageSet
from resjax.records import RunWriter
from resjax.train import responses
from resjax.train.run_files import RestoredRun


@dataclasses.dataclass(frozen=True)
class Measured:
  """Results of the test of a network.

  Attributes:
    score: Numbers of tested and of misclassified images.
    responses: Lines of responses.jsonl.
    skipped: Error message of each image that could not be decoded.
  """

  score: score.Score
  responses: list[dict[str, Any]]
  skipped: tuple[str, ...]


def measure(net: RestoredRun, tested: ImageSet) -> Measured:
  """Tests a network and measures its responses to the first test images.

  Args:
    net: Network; `responses` in its settings applies. If there are fewer images than `responses.images`, all are used.
    tested: Test images.

  Raises:
    ConfigError: The images do not fit the network.
    NotFinite: An output of the network is not finite.
  """
  single = protocols.PROTOCOLS["single"]
  result = score.evaluate([net], tested, single)
  skipped = tuple(tested.skipped)
  settings, size = net.config.responses, size_of(net)
  if result.images < settings.images:
    settings = dataclasses.replace(settings, images=result.images, batch_size=result.images)
  first = itertools.islice(tested.pairs(single.shorter(size)), settings.images)
  views = np.concatenate([single.views(image, size) for image, _ in first])
  with jax.set_mesh(mesh.make(dataclasses.replace(net.config, execution=Execution(), responses=settings))):
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    arrays = jax.device_put((net.variables, views, net.input.statistics), everywhere)
    moments = responses.capture(models.build(net.config.model, net.classes), settings, *arrays)
    table = net.config.model.net(net.input.image_shape, net.classes).table
    return Measured(result, responses.lines(settings, net.step, table, moments), skipped)


def write(directory: Path, net: RestoredRun, tested: ImageSet, measured: Measured) -> None:
  """Adds the results of a test to the records of an imported network.

  Args:
    directory: Run directory.
    net: The network.
    tested: Test images.
    measured: Results of the test.
  """
  result = measured.score
  with RunWriter(directory) as writer:
    writer.append("metrics", [{"step": net.step, "split": "test", "error": result.error, "images": result.images}])
    writer.append("responses", measured.responses)
    writer.update(
      data={**writer.run["data"], "name": tested.name, "path": tested.path, "form": tested.form},
      result={"test_error": result.error, "test_images": result.images},
    )
    for note in tested.notes:
      writer.event(net.step, "data", note)
    for fault in measured.skipped:
      writer.event(net.step, "image skipped", fault)
