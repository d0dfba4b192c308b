"""Study of the path of training: a run's checkpoints in the plane of their principal components, and the loss there.

Li et al. 2018, Sec. 7: the plane goes through the newest checkpoint, along the first two principal components of the
differences of all checkpoints from it. The loss of a checkpoint is recorded beside that of its projection on the plane.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from resjax import mesh
from resjax.config import Config
from resjax.config.studies import Trajectory
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.studies.loss_surface import LossSurface, Params
from resjax.studies.trained_model import TrainedModel
from resjax.train import checkpoints, run_files, state
from resjax.train.progress import Progress

MIN_CHECKPOINTS = 3  # checkpoints that span a plane, including the initial weights
SIGNIFICANT_DIGITS = 6  # of coordinates in the records


@dataclasses.dataclass(frozen=True)
class Plane:
  """The plane of a path of training.

  Attributes:
    directions: The two directions, orthonormal, float32 [2, parameters].
    shares: Their shares of the variance of the checkpoints, float64 [2].
    coordinates: Coordinates of the checkpoints along the directions, with the newest at 0, float64 [checkpoints, 2].
    distances: Distances of the checkpoints from the newest one, float64 [checkpoints].
    outside: Distances of the checkpoints from the plane, float64 [checkpoints].
  """

  directions: np.ndarray
  shares: np.ndarray
  coordinates: np.ndarray
  distances: np.ndarray
  outside: np.ndarray


def check(_: Config, __: Trajectory) -> None:
  """Accepts any network."""


def run(trained: TrainedModel, settings: Trajectory, writer: RunWriter) -> list[dict[str, Any]]:
  """Computes the path and the points of the grid that are not recorded yet, and writes them to the study records.

  Args:
    trained: Network to study.
    settings: Settings of the study.
    writer: Writer of the study records.

  Returns:
    One row of the summary.

  Raises:
    ConfigError: The run has too few checkpoints, one of them is damaged, or the images do not fit the network.
  """
  path = _path(trained)
  images, labels = trained.sample("train", settings.images)
  columns = {
    "step": trained.step,
    "images": len(labels),
    "source": "train",
    "batch_size": settings.batch_size,
    "checkpoints": len(path),
  }
  surface = LossSurface(
    trained.net, settings.batch_size, "batch", trained.variables, images, labels, trained.statistics
  )
  flat = np.stack([np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)]) for params in path.values()])
  found = plane(flat)
  _, unflat = ravel_pytree(trained.variables["params"])
  directions = _replicated(tuple(map(unflat, found.directions)))
  rows = trained.recorded("trajectory", columns)
  if len(rows) < len(path):
    rows = [{**columns, **row} for row in _rows(trained, surface, directions, path, found)]
    written = {row["at"] for row in trained.recorded("trajectory", columns)}
    writer.append("trajectory", [row for row in rows if row["at"] not in written])
  if settings.points:
    _grid(trained, settings, writer, columns, (surface, directions, found.coordinates))
  largest_gap = max(rows, key=lambda row: abs(row["plane_loss"] - row["loss"]))
  return [
    {
      "id": trained.id,
      "checkpoints": len(path),
      "share of variance %": " + ".join(f"{100 * share:.1f}" for share in found.shares),
      "largest gap at step": largest_gap["at"],
      "loss": f"{largest_gap['loss']:.4g}",
      "loss on the plane": f"{largest_gap['plane_loss']:.4g}",
    }
  ]


def plane(path: np.ndarray) -> Plane:
  """Returns the plane through the last point of a path along its first two principal components.

  Args:
    path: Points, of which at least three differ, float32 [points, parameters].
  """
  differences = path - path[-1]
  mean = differences.mean(0)
  _, sizes, vectors = np.linalg.svd(differences - mean, full_matrices=False)
  directions = vectors[:2]
  coordinates = differences.astype(np.float64) @ directions.T.astype(np.float64)
  distances = np.linalg.norm(differences, axis=1).astype(np.float64)
  outside = np.linalg.norm(differences - coordinates @ directions, axis=1)
  return Plane(directions, (sizes**2 / (sizes**2).sum())[:2].astype(np.float64), coordinates, distances, outside)


def _path(trained: TrainedModel) -> dict[int, Params]:
  """Returns the parameters at step 0 and at each checkpoint, as NumPy arrays by step.

  Raises:
    ConfigError: The run has too few checkpoints, or one of them is damaged.
  """
  folder = trained.directory / run_files.CHECKPOINTS
  kept = [step for step in checkpoints.steps(folder) if step < trained.step]
  if len({0, *kept, trained.step}) < MIN_CHECKPOINTS:
    every = max(trained.step // 20, 1)
    raise ConfigError(
      f"{folder}: has checkpoints of {len(kept) + 1} steps, but a plane needs two after step 0; train with "
      f"--config.checkpoint.every={every} --config.checkpoint.keep_every={every}"
    )
  found: dict[int, Params] = {}
  with Progress(f"checkpoints {trained.id}", len(kept), 0, "checkpoint") as progress:
    for step in kept:
      found[step] = jax.device_get(checkpoints.restore_variables(folder, step)[1]["params"])
      progress.show(1, f"step {step}")
  if 0 not in found:
    config = trained.config
    start = state.initial(config.model, config.scaled_train, trained.classes, trained.image_shape, config.seed)
    found = {0: jax.device_get(start.params), **found}
  return {**found, trained.step: jax.device_get(trained.variables["params"])}


def _rows(
  trained: TrainedModel, surface: LossSurface, directions: Any, path: dict[int, Params], found: Plane
) -> list[dict[str, Any]]:
  """Returns the lines of trajectory.jsonl, one per checkpoint, without the values that all lines share."""
  rows = []
  shares = {"first_share": float(found.shares[0]), "second_share": float(found.shares[1])}
  here = np.zeros((1, 2), np.float32)
  with Progress(f"trajectory {trained.id}", len(path), 0, "checkpoint") as progress:
    for i, (step, params) in enumerate(path.items()):
      moved = dataclasses.replace(surface, variables={**surface.variables, "params": _replicated(params)})
      measured = jax.device_get((moved.losses(directions, here), _losses(surface, directions, found.coordinates[i])))
      (loss, error), (plane_loss, plane_error) = ((float(one[0]), float(other[0])) for one, other in measured)
      alpha, beta, distance, outside = (
        float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        for value in (*found.coordinates[i], found.distances[i], found.outside[i])
      )
      rows.append(
        {"at": step, "alpha": alpha, "beta": beta, "distance": distance, "plane_distance": outside, **shares}
        | {"loss": loss, "error": error, "plane_loss": plane_loss, "plane_error": plane_error}
      )
      progress.show(1, f"loss {loss:.4g}, on the plane {plane_loss:.4g}")
  return rows


def _grid(
  trained: TrainedModel,
  settings: Trajectory,
  writer: RunWriter,
  columns: dict[str, Any],
  where: tuple[LossSurface, Any, np.ndarray],
) -> None:
  """Computes and writes the missing points of the grid around the path, one row of the grid at a time.

  Args:
    trained: The network.
    settings: Settings of the study.
    writer: Writer of the study records.
    columns: Values that all lines share.
    where: Loss surface, directions of the plane, and coordinates of the path.
  """
  surface, directions, coordinates = where
  low, high = coordinates.min(0), coordinates.max(0)
  margin = settings.margin * (high - low)
  axes = [
    [float(f"{place:.{SIGNIFICANT_DIGITS}g}") for place in np.linspace(start, end, settings.points)]
    for start, end in zip(low - margin, high + margin, strict=True)
  ]
  known = {(row["alpha"], row["beta"]) for row in trained.recorded("trajectory_surface", columns)}
  wanted = [(alpha, beta) for alpha in axes[0] for beta in axes[1]]
  missing = [point for point in wanted if point not in known]
  with Progress(f"surface {trained.id}", len(wanted), len(wanted) - len(missing), "point") as progress:
    for at in range(0, len(missing), settings.points):
      some = missing[at : at + settings.points]
      filled = np.array(
        some + some[:1] * (settings.points - len(some)), np.float32
      )  # equal shapes, so that one program serves all
      losses, errors = jax.device_get(surface.losses(directions, filled))
      rows = [
        {**columns, "alpha": alpha, "beta": beta, "loss": float(losses[i]), "error": float(errors[i])}
        for i, (alpha, beta) in enumerate(some)
      ]
      writer.append("trajectory_surface", rows)
      progress.show(len(rows), f"loss {rows[-1]['loss']:.4g}")


def _losses(surface: LossSurface, directions: Any, point: np.ndarray) -> tuple[jax.Array, jax.Array]:
  """Returns the loss and the error at one point of the plane, float32 [1] each."""
  return surface.losses(directions, point[None].astype(np.float32))


def _replicated(tree: Any) -> Any:
  """Returns a tree of arrays replicated on all devices of the current mesh."""
  return jax.device_put(tree, mesh.replicated(jax.sharding.get_mesh()))
