"""Hessians of trained networks from the records of Lanczos quadrature and of Hutchinson's estimator."""

import numpy as np
import pandas as pd

from resjax.analysis.curves import last_capture
from resjax.analysis.logs import Logs

WIDTH = 0.01  # standard deviation of the Gaussian that smooths the density, of the largest eigenvalue in magnitude
LARGE = 0.01  # of the largest eigenvalue, above which eigenvalues are counted
POINTS = 400  # of a density
_SETTINGS = ["images", "mode", "draw_seed"]


def latest(logs: Logs, log: str) -> pd.DataFrame:
  """Returns the lines of each run's last step, and of the settings that were recorded last.

  Args:
    logs: The runs.
    log: Log of the study.
  """
  lines = last_capture(logs.studies[log])
  chosen = lines.drop_duplicates("id", keep="last")[["id", *_SETTINGS]]
  return lines.merge(chosen, on=["id", *_SETTINGS])


def traces(logs: Logs) -> pd.DataFrame:
  """Returns the trace of the Hessian by part of the network, and of the whole.

  Returns:
    id, net, seed, part ("all": the whole network), parameters, trace (mean over the random vectors), error (its
    standard error; missing of a single vector), vectors.
  """
  lines = latest(logs, "trace").dropna(subset=["trace"])
  if lines.empty:
    return pd.DataFrame(columns=["id", "net", "seed", "part", "parameters", "trace", "error", "vectors"])
  by_run = ["id", "net", "seed"]
  whole = lines.groupby([*by_run, "probe"], sort=False, dropna=False)[["trace", "parameters"]].sum().reset_index()
  every = pd.concat([lines, whole.assign(part="all")])
  grouped = every.groupby([*by_run, "part"], sort=False, dropna=False)
  found = grouped.agg(
    parameters=("parameters", "first"), trace=("trace", "mean"), error=("trace", "sem"), vectors=("trace", "count")
  )
  return found.reset_index()


def spectra(logs: Logs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Returns nodes and weights of the quadrature of each run by its id, the mean over the random vectors.

  Nodes and weights are of all vectors together, so that the weights sum to 1.
  """
  found = {}
  for run, lines in latest(logs, "spectrum").groupby("id", sort=False):
    nodes, weights = (np.concatenate([np.asarray(row, float) for row in lines[key]]) for key in ("values", "weights"))
    found[str(run)] = nodes, weights / len(lines)
  return found


def density(nodes: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
  """Returns the smoothed density of eigenvalues relative to the largest one in magnitude.

  Args:
    nodes: Nodes of the quadrature, float64 [nodes].
    weights: Their weights, float64 [nodes].

  Returns:
    position (eigenvalue relative to the largest in magnitude), density (share of the eigenvalues per unit of it).
  """
  relative = nodes / np.abs(nodes).max()
  places = np.linspace(relative.min() - 3 * WIDTH, relative.max() + 3 * WIDTH, POINTS)
  kernels = np.exp(-0.5 * ((places[:, None] - relative) / WIDTH) ** 2) / (WIDTH * np.sqrt(2 * np.pi))
  return pd.DataFrame({"position": places, "density": kernels @ weights})


def summaries(logs: Logs) -> pd.DataFrame:
  """Returns extreme eigenvalues and moments of each spectrum.

  Returns:
    id, net, seed, parameters, largest, smallest, large (number of eigenvalues above `LARGE` of the largest), trace (of
    the quadrature), vectors, iterations.
  """
  lines, rows = latest(logs, "spectrum"), []
  for run, (nodes, weights) in spectra(logs).items():
    own = lines[lines["id"] == run]
    first = own.iloc[0]
    size = int(first["parameters"])
    rows.append(
      {"id": run, "net": first["net"], "seed": first["seed"], "parameters": size}
      | {"largest": nodes.max(), "smallest": nodes.min()}
      | {"large": size * weights[nodes > LARGE * nodes.max()].sum(), "trace": size * float(weights @ nodes)}
      | {"vectors": len(own), "iterations": first["iterations"]}
    )
  columns = ["id", "net", "seed", "parameters", "largest", "smallest", "large", "trace", "vectors", "iterations"]
  return pd.DataFrame(rows, columns=columns)
