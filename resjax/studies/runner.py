"""Runs a study on the trained networks below a work directory, one after another."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from resjax import mesh, records, settings, study_records
from resjax.config import Config, studies
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.studies import (
  curvature,
  gradients,
  identity,
  landscape,
  layers,
  lesions,
  responses,
  trained_model,
  trajectory,
)
from resjax.studies.trained_model import TrainedModel

Given = Mapping[str, Any]
Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Study:
  """The functions of a study.

  Attributes:
    settings: Function that returns the settings of the study, given those of the run and those set by the user.
    check: Function that raises ConfigError if the study does not support the network of a run.
    run: Function that studies a network, writes the records and returns the rows of the summary. It is called within
      `jax.set_mesh`.
  """

  settings: Callable[[Config, Given], Any]
  check: Callable[[Config, Any], None]
  run: Callable[[TrainedModel, Any, RunWriter], Rows]


def _independent_of_run(kind: type) -> Callable[[Config, Given], Any]:
  """Returns the function `Study.settings` of a study whose settings do not depend on those of the run."""
  return lambda _, given: settings.freeze(kind, given)


def _mesh(study_settings: Any) -> Mesh:
  """Returns a mesh of the largest number of devices that divides all batch sizes of a study."""
  names = [field.name for field in dataclasses.fields(study_settings) if field.name.endswith("batch_size")]
  return trained_model.make_mesh(math.gcd(*(getattr(study_settings, name) for name in names)))


STUDIES = {
  "curvature": Study(_independent_of_run(studies.Curvature), curvature.check, curvature.run),
  "responses": Study(responses.study_settings, responses.check, responses.run),
  "gradients": Study(gradients.study_settings, gradients.check, gradients.run),
  "identity": Study(_independent_of_run(studies.Identity), identity.check, identity.run),
  "landscape": Study(_independent_of_run(studies.Landscape), landscape.check, landscape.run),
  "layers": Study(layers.study_settings, layers.check, layers.run),
  "trajectory": Study(_independent_of_run(studies.Trajectory), trajectory.check, trajectory.run),
  "lesion": Study(_independent_of_run(studies.Lesions), lesions.check, lesions.run),
}


def run(name: str, command: str, workdir: Path, only: str, path: str | None, given: Given) -> tuple[bool, Rows]:
  """Runs a study on each trained network, after checking that it supports all of them.

  Args:
    name: Name of the study.
    command: Command line, for the records.
    workdir: Work directory, experiment or run directory.
    only: Filter of the runs, as for `--only`.
    path: Path of the data set; None for the path used in training.
    given: Settings of the study that the user set.

  Returns:
    Whether all trainings that the study started have succeeded, and the rows of the summary.

  Raises:
    ConfigError: A setting is invalid, or the study does not support a network.
    RecordsError: A run directory cannot be read or written.
  """
  mesh.start_backend(None if (workdir / "run.json").is_file() else workdir)
  study = STUDIES[name]
  found = trained_model.find(workdir, only)
  chosen = {directory: study.settings(config, given) for directory, config in found.items()}
  for directory, config in found.items():
    try:
      study.check(config, chosen[directory])
    except ConfigError as error:
      raise ConfigError(f"{directory}: {error}") from None
  rows = []
  for directory, own in chosen.items():
    with jax.set_mesh(_mesh(own)), study_records.writer(directory) as writer:
      net = trained_model.read(directory, path)
      rows += study.run(net, own, writer)
      study_records.add_command(writer, directory, {"step": net.step, "study": name, "command": command})
  return not any("status" in row and row["status"] == records.FAILED for row in rows), rows
