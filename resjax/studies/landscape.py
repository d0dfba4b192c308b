"""Study of the loss around a trained network: a grid over two random directions, and the Hessian's eigenvalues."""

import functools
from typing import Any

import jax
import numpy as np

from resjax import mesh
from resjax.config import Config
from resjax.config.studies import Landscape
from resjax.records import RunWriter
from resjax.studies import lanczos, loss_surface
from resjax.studies.loss_surface import LossSurface
from resjax.studies.trained_model import TrainedModel
from resjax.train.progress import Progress

COORDINATE_DECIMALS = 9  # coordinates are rounded, so that grids of different sizes share points


def check(_: Config, __: Landscape) -> None:
  """Accepts any network."""


def run(trained: TrainedModel, settings: Landscape, writer: RunWriter) -> list[dict[str, Any]]:
  """Computes points and eigenvalues that are not recorded yet, and writes them to the study records.

  Args:
    trained: Network to study.
    settings: Settings of the study.
    writer: Writer of the study records.

  Returns:
    One row of the summary.

  Raises:
    ConfigError: The images do not fit the network.
  """
  images, labels = trained.sample("train", settings.images)
  columns = {
    "step": trained.step,
    "images": len(labels),
    "source": "train",
    "mode": settings.mode,
    "batch_size": settings.batch_size if settings.mode == "batch" else None,
    "seed": settings.seed,
  }
  surface = LossSurface(
    trained.net, settings.batch_size, settings.mode, trained.variables, images, labels, trained.statistics
  )
  points = _points(trained, settings, writer, columns, surface)
  eigenvalues = _eigenvalues(trained, settings, writer, columns, surface) if settings.eigenvalues else []
  middle = min(points, key=lambda row: abs(row["alpha"]) + abs(row["beta"]))
  return [
    {
      "id": trained.id,
      "points": len(points),
      "loss nearest to the network": f"{middle['loss']:.4g}",
      "highest loss": f"{max(row['loss'] for row in points):.4g}",
      "largest eigenvalues": ", ".join(f"{row['eigenvalue']:.4g}" for row in eigenvalues),
    }
  ]


def _points(
  trained: TrainedModel, settings: Landscape, writer: RunWriter, columns: dict[str, Any], surface: LossSurface
) -> list[dict[str, Any]]:
  """Returns the lines of all points of the grid, after computing and writing missing ones, a grid row at a time."""
  coordinates = np.round(np.linspace(-settings.reach, settings.reach, settings.points), COORDINATE_DECIMALS).tolist()
  known = {(row["alpha"], row["beta"]): row for row in trained.recorded("landscape", columns)}
  wanted = [(alpha, beta) for alpha in coordinates for beta in coordinates]
  missing = [point for point in wanted if point not in known]
  everywhere = mesh.replicated(jax.sharding.get_mesh())
  directions = jax.device_put(
    tuple(loss_surface.direction(trained.variables["params"], settings.seed, number) for number in (1, 2)), everywhere
  )
  with Progress(f"landscape {trained.id}", len(wanted), len(wanted) - len(missing), "point") as progress:
    for at in range(0, len(missing), settings.points):
      some = missing[at : at + settings.points]
      filled = np.array(
        some + some[:1] * (settings.points - len(some)), np.float32
      )  # equal shapes, so that one program serves all
      found = surface.losses(directions, filled)
      rows = [
        {**columns, "alpha": alpha, "beta": beta, "loss": float(loss), "error": float(error)}
        for (alpha, beta), loss, error in zip(some, *(each[: len(some)] for each in jax.device_get(found)), strict=True)
      ]
      writer.append("landscape", rows)
      known |= {(row["alpha"], row["beta"]): row for row in rows}
      progress.show(len(rows), f"loss {rows[-1]['loss']:.4g}")
  return [known[point] for point in wanted]


def _eigenvalues(
  trained: TrainedModel, settings: Landscape, writer: RunWriter, columns: dict[str, Any], surface: LossSurface
) -> list[dict[str, Any]]:
  """Returns the lines of the eigenvalues, after computing and writing them if too few are recorded.

  The eigenvalues depend on both settings, which tell when the Lanczos iteration ends.
  """
  size = sum(leaf.size for leaf in jax.tree.leaves(trained.variables["params"]))
  columns = {**columns, "eigenvalues": settings.eigenvalues, "max_iterations": settings.iterations}
  known = trained.recorded("hessian", columns)
  if len(known) >= min(settings.eigenvalues, settings.iterations, size):
    return known
  with Progress(f"hessian {trained.id}", min(settings.iterations, size), 0, "product") as progress:
    matvec = surface.hessian_matvec(functools.partial(progress.show, 1))
    found = lanczos.largest_eigenvalues(matvec, size, settings.eigenvalues, settings.iterations, settings.seed)
  rows = [
    {**columns, "index": index, "eigenvalue": value, "residual": residual, "iterations": found.iterations}
    for index, (value, residual) in enumerate(zip(found.eigenvalues.tolist(), found.residuals.tolist(), strict=True), 1)
  ]
  writer.append("hessian", [row for row in rows if row["index"] not in {line["index"] for line in known}])
  return rows
