"""Spectrum and trace of the Hessian, from the records of Lanczos quadrature and of Hutchinson's estimator."""

import numpy as np
import pandas as pd

from resjax.analysis import study_lines
from resjax.analysis.logs import Logs

WIDTH = 0.01  # standard deviation of the smoothing Gaussian, relative to the largest eigenvalue in magnitude
LARGE = 0.01  # eigenvalues above this fraction of the largest one are counted as large
POINTS = 400  # at which the density is evaluated


def traces(logs: Logs) -> pd.DataFrame:
  """Returns the trace of the Hessian of each part of the network and of the whole network.

  Returns:
    Columns id, net, seed, part ("all" for the whole network), parameters (number), trace (mean over the random
    vectors), error (standard error of the mean; missing for a single vector), vectors (number).
  """
  lines = study_lines.of_last_step(logs, "trace").dropna(subset=["trace"])
  if lines.empty:
    return pd.DataFrame(columns=["id", "net", "seed", "part", "parameters", "trace", "error", "vectors"])
  by_run = ["id", "net", "seed"]
  whole = lines.groupby([*by_run, "probe"], sort=False, dropna=False)[["trace", "parameters"]].sum().reset_index()
  parts = pd.concat([lines, whole.assign(part="all")])
  grouped = parts.groupby([*by_run, "part"], sort=False, dropna=False)
  statistics = grouped.agg(
    parameters=("parameters", "first"), trace=("trace", "mean"), error=("trace", "sem"), vectors=("trace", "count")
  )
  return statistics.reset_index()


def spectra(logs: Logs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Returns nodes and weights of the Lanczos quadrature of each run.

  Returns:
    By run id: nodes and weights of all random vectors, float64 [vectors * iterations]. The weights sum to 1.
  """
  by_run = {}
  for run, lines in study_lines.of_last_step(logs, "spectrum").groupby("id", sort=False):
    nodes, weights = (np.concatenate([np.asarray(row, float) for row in lines[key]]) for key in ("values", "weights"))
    by_run[str(run)] = nodes, weights / len(lines)
  return by_run


def density(nodes: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
  """Returns the smoothed density of eigenvalues relative to the largest one in magnitude.

  Args:
    nodes: Nodes of the quadrature, float64 [nodes].
    weights: Weights of the nodes, float64 [nodes].

  Returns:
    Columns position (eigenvalue relative to the largest in magnitude), density (fraction of the eigenvalues per unit
    of position).
  """
  relative = nodes / np.abs(nodes).max()
  positions = np.linspace(relative.min() - 3 * WIDTH, relative.max() + 3 * WIDTH, POINTS)
  kernels = np.exp(-0.5 * ((positions[:, None] - relative) / WIDTH) ** 2) / (WIDTH * np.sqrt(2 * np.pi))
  return pd.DataFrame({"position": positions, "density": kernels @ weights})


def summaries(logs: Logs) -> pd.DataFrame:
  """Returns the extreme eigenvalues and the trace of each run's spectrum.

  Returns:
    Columns id, net, seed, parameters, largest, smallest, large (estimated number of eigenvalues above `LARGE` times the
    largest), trace (of the quadrature), vectors, iterations.
  """
  lines, rows = study_lines.of_last_step(logs, "spectrum"), []
  for run, (nodes, weights) in spectra(logs).items():
    of_run = lines[lines["id"] == run]
    first = of_run.iloc[0]
    size = int(first["parameters"])
    rows.append(
      {"id": run, "net": first["net"], "seed": first["seed"], "parameters": size}
      | {"largest": nodes.max(), "smallest": nodes.min()}
      | {"large": size * weights[nodes > LARGE * nodes.max()].sum(), "trace": size * float(weights @ nodes)}
      | {"vectors": len(of_run), "iterations": first["iterations"]}
    )
  columns = ["id", "net", "seed", "parameters", "largest", "smallest", "large", "trace", "vectors", "iterations"]
  return pd.DataFrame(rows, columns=columns)
