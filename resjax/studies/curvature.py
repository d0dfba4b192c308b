"""Study of the Hessian of the loss of a trained network: density of its eigenvalues, and its trace by stage.

The density is computed by stochastic Lanczos quadrature and the trace by Hutchinson's estimator, both with random
vectors of signs (Yao et al. 2020, "PyHessian"; Ghorbani et al. 2019).
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from resjax.config import Config
from resjax.config.studies import Curvature
from resjax.records import RunWriter
from resjax.studies import lanczos
from resjax.studies.loss_surface import LossSurface, Params
from resjax.studies.trained_model import TrainedModel
from resjax.train.progress import Progress

SIGNIFICANT_DIGITS = 6  # of nodes and weights in the records


def check(_: Config, __: Curvature) -> None:
  """Accepts any network."""


def run(trained: TrainedModel, settings: Curvature, writer: RunWriter) -> list[dict[str, Any]]:
  """Computes traces and spectra that are not recorded yet, and writes them to the study records.

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
  traces = _traces(trained, settings, writer, columns, surface)
  spectra = _spectra(trained, settings, writer, columns, surface)
  found = {"id": trained.id}
  if traces:
    totals = [sum(row["trace"] for row in rows) for rows in traces]
    found |= {"trace": f"{np.mean(totals):.4g}", "random vectors": str(len(totals))}
    sizes = {row["part"]: np.mean([each[i]["trace"] for each in traces]) for i, row in enumerate(traces[0])}
    found |= {f"trace of {part}": f"{trace:.4g}" for part, trace in sizes.items()}
  if spectra:
    found |= {"largest eigenvalue": f"{max(max(row['values']) for row in spectra):.4g}"}
    found |= {"smallest eigenvalue": f"{min(min(row['values']) for row in spectra):.4g}"}
  return [found]


def parameter_slices(params: Params) -> Iterator[tuple[str, slice]]:
  """Yields the parts of a network from input to output, each with its slice of the vector of `ravel_pytree`."""
  start, slices = 0, {}
  for name in sorted(params):  # as JAX orders the keys of a dict
    size = sum(leaf.size for leaf in jax.tree.leaves(params[name]))
    slices[name] = slice(start, start + size)
    start += size
  yield from sorted(slices.items(), key=lambda part: ({"stem": 0, "head": 2}.get(part[0], 1), part[0]))


def signs(size: int, seed: int, probe: int) -> np.ndarray:
  """Returns a random vector of signs +1 and -1, float64 [size].

  Args:
    size: Length of the vector.
    seed: Seed of the random vectors.
    probe: Number of the vector.
  """
  return np.random.default_rng([seed, probe]).choice([-1.0, 1.0], size)


def _traces(
  trained: TrainedModel, settings: Curvature, writer: RunWriter, columns: dict[str, Any], surface: LossSurface
) -> list[list[dict[str, Any]]]:
  """Returns the lines of trace.jsonl, a list per random vector, after computing and writing those not yet recorded."""
  slices = dict(parameter_slices(trained.variables["params"]))
  size = max(each.stop for each in slices.values())
  known: dict[int, list[dict[str, Any]]] = {}
  for row in trained.recorded("trace", columns):
    known.setdefault(row["probe"], []).append(row)
  whole = {probe: rows for probe, rows in known.items() if len(rows) == len(slices)}
  wanted = range(1, settings.traces + 1)
  missing = [probe for probe in wanted if probe not in whole]
  with Progress(f"trace {trained.id}", len(wanted), len(wanted) - len(missing), "vector") as progress:
    matvec = surface.hessian_matvec(functools.partial(progress.show, 1))
    for probe in missing:
      vector = signs(size, settings.seed, probe)
      each = vector * matvec(vector)
      whole[probe] = [
        {**columns, "probe": probe, "part": part, "trace": float(each[at].sum()), "parameters": at.stop - at.start}
        for part, at in slices.items()
      ]
      written = {row["part"] for row in known.get(probe, ())}
      writer.append("trace", [row for row in whole[probe] if row["part"] not in written])
  return [whole[probe] for probe in wanted]


def _spectra(
  trained: TrainedModel, settings: Curvature, writer: RunWriter, columns: dict[str, Any], surface: LossSurface
) -> list[dict[str, Any]]:
  """Returns the lines of spectrum.jsonl, one per random vector, after computing and writing those not yet recorded."""
  size = sum(leaf.size for leaf in jax.tree.leaves(trained.variables["params"]))
  iterations = min(settings.iterations, size)
  rows = trained.recorded("spectrum", {**columns, "iterations": iterations})
  known = {row["probe"]: row for row in rows}
  wanted = range(1, settings.probes + 1)
  missing = [probe for probe in wanted if probe not in known]
  total = iterations * len(wanted)
  with Progress(f"spectrum {trained.id}", total, total - iterations * len(missing), "product") as progress:
    matvec = surface.hessian_matvec(functools.partial(progress.show, 1))
    for probe in missing:
      nodes, weights = lanczos.quadrature(matvec, signs(size, settings.seed, probe), iterations)
      about = {"probe": probe, "parameters": size, "iterations": iterations}
      known[probe] = {**columns, **about, "values": _rounded(nodes), "weights": _rounded(weights)}
      writer.append("spectrum", [known[probe]])
  return [known[probe] for probe in wanted]


def _rounded(values: np.ndarray) -> list[float]:
  return [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in values]
