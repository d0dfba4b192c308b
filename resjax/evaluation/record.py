"""Records error and layer responses (Fig. 7) of an imported network in its run directory."""

import dataclasses
import itertools
from pathlib import Path

import jax
import numpy as np

from resjax import mesh, models
from resjax.config import Execution
from resjax.evaluation import protocols, score
from resjax.evaluation.ensemble import size_of
from resjax.evaluation.images import ImageSet
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.train import responses, run_files


def record(directory: Path, tested: ImageSet) -> score.Score:
  """Tests a network and records its error, and its responses to the first test images.

  Args:
    directory: Run directory; `responses` in its settings applies.
    tested: Test images.

  Raises:
    ConfigError: The images do not fit the network, or there are fewer than `responses.images`.
    NotFinite: An output of the network is not finite.
  """
  net = run_files.read(directory)
  single = protocols.PROTOCOLS["single"]
  result = score.evaluate([net], tested, single)
  skipped = list(tested.skipped)
  settings, size = net.config.responses, size_of(net)
  if result.images < settings.images:
    raise ConfigError(
      f"responses.images = {settings.images}: must be at most {result.images}, the number of test images"
    )
  first = itertools.islice(tested.pairs(single.shorter(size)), settings.images)
  views = np.concatenate([single.views(image, size) for image, _ in first])
  with jax.set_mesh(mesh.make(dataclasses.replace(net.config, execution=Execution()))):
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    arrays = jax.device_put((net.variables, views, net.input.statistics), everywhere)
    moments = responses.capture(models.build(net.config.model, net.classes), settings, *arrays)
  table = net.config.model.net(net.input.image_shape, net.classes).table
  with RunWriter(directory) as writer:
    writer.rewind(-1)
    writer.append("metrics", [{"step": net.step, "split": "test", "error": result.error, "images": result.images}])
    writer.append("responses", responses.lines(settings, net.step, table, moments))
    writer.update(
      data={**writer.run["data"], "name": tested.name, "path": tested.path, "form": tested.form},
      result={"test_error": result.error, "test_images": result.images},
    )
    for note in tested.notes:
      writer.event(net.step, "data", note)
    for fault in skipped:
      writer.event(net.step, "image skipped", fault)
  return result
