"""The largest eigenvalues of a symmetric matrix that is known by its products with vectors (Lanczos). No JAX."""

import dataclasses
from collections.abc import Callable

import numpy as np

CLOSE = 1e-4  # relative residual at which an eigenvalue is taken as found


@dataclasses.dataclass(frozen=True)
class Found:
  """What Lanczos found.

  Attributes:
    eigenvalues: float64 [count], largest first.
    residuals: norms of H v - eigenvalue * v, which bound the errors.
    iterations: products that were taken.
  """

  eigenvalues: np.ndarray
  residuals: np.ndarray
  iterations: int


def largest(times: Callable[[np.ndarray], np.ndarray], size: int, count: int, iterations: int, seed: int) -> Found:
  """Returns the largest eigenvalues, each new vector made orthogonal to all before.

  Args:
    times: float64 [size] to H times it.
    size: of the matrix.
    count: eigenvalues wanted.
    iterations: products at most; fewer where the residuals are small before.
    seed: of the first vector.
  """
  vector = np.random.default_rng(seed).standard_normal(size)
  basis = [vector / np.linalg.norm(vector)]
  diagonal: list[float] = []
  beside: list[float] = []
  for _ in range(min(iterations, size)):
    product = times(basis[-1])
    diagonal.append(float(basis[-1] @ product))
    for _ in ("once", "again"):  # once leaves what rounding adds
      for each in basis:
        product -= (each @ product) * each
    rest = float(np.linalg.norm(product))
    small = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(small)
    values, residuals = values[::-1][:count], rest * np.abs(vectors[-1, ::-1][:count])
    if (len(values) == min(count, size) and (residuals <= CLOSE * np.abs(values)).all()) or rest == 0:
      break
    beside.append(rest)
    basis.append(product / rest)
  return Found(values, residuals, len(diagonal))
