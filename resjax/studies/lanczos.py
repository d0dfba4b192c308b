"""Largest eigenvalues of a symmetric matrix, given as a function that multiplies by it (Lanczos). Does not use JAX."""

import dataclasses
from collections.abc import Callable

import numpy as np

CONVERGED = 1e-4  # relative residual below which an eigenvalue has converged


@dataclasses.dataclass(frozen=True)
class Eigenvalues:
  """Result of the Lanczos iteration.

  Attributes:
    eigenvalues: Largest eigenvalues in descending order, float64 [count].
    residuals: Norms of H v - eigenvalue * v, which bound the errors of the eigenvalues, float64 [count].
    iterations: Number of products with H.
  """

  eigenvalues: np.ndarray
  residuals: np.ndarray
  iterations: int


def largest_eigenvalues(
  times: Callable[[np.ndarray], np.ndarray], size: int, count: int, iterations: int, seed: int
) -> Eigenvalues:
  """Returns the largest eigenvalues, computed with full reorthogonalization.

  Args:
    times: Function that multiplies a vector, float64 [size], by the matrix H.
    size: Size of the matrix.
    count: Number of eigenvalues.
    iterations: Maximum number of products; fewer are computed if all eigenvalues have converged.
    seed: Seed of the first vector.
  """
  vector = np.random.default_rng(seed).standard_normal(size)
  basis = [vector / np.linalg.norm(vector)]
  diagonal: list[float] = []
  off_diagonal: list[float] = []
  for _ in range(min(iterations, size)):
    product = times(basis[-1])
    diagonal.append(float(basis[-1] @ product))
    for _ in ("once", "again"):  # the second pass removes rounding errors of the first
      for each in basis:
        product -= (each @ product) * each
    rest = float(np.linalg.norm(product))
    small = np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
    values, vectors = np.linalg.eigh(small)
    values, residuals = values[::-1][:count], rest * np.abs(vectors[-1, ::-1][:count])
    if (len(values) == min(count, size) and (residuals <= CONVERGED * np.abs(values)).all()) or rest == 0:
      break
    off_diagonal.append(rest)
    basis.append(product / rest)
  return Eigenvalues(values, residuals, len(diagonal))
