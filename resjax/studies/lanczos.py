"""Lanczos iteration: eigenvalues of a symmetric matrix, given as a function that multiplies by it. Does not use JAX."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

CONVERGED = 1e-4  # largest relative residual of a converged eigenvalue

Matvec = Callable[[np.ndarray], np.ndarray]


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


def largest_eigenvalues(matvec: Matvec, size: int, count: int, iterations: int, seed: int) -> Eigenvalues:
  """Returns the largest eigenvalues, computed with full reorthogonalization.

  Args:
    matvec: Function that multiplies a vector, float64 [size], by the matrix H.
    size: Size of the matrix.
    count: Number of eigenvalues.
    iterations: Maximum number of products; fewer are computed if all eigenvalues have converged.
    seed: Seed of the first vector.
  """
  vector = np.random.default_rng(seed).standard_normal(size)
  for values, vectors, residual in _ritz_pairs(matvec, vector, iterations):
    products = len(values)
    values, residuals = values[::-1][:count], residual * np.abs(vectors[-1, ::-1][:count])
    if len(values) == min(count, size) and (residuals <= CONVERGED * np.abs(values)).all():
      break
  return Eigenvalues(values, residuals, products)


def quadrature(matvec: Matvec, vector: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the Gauss quadrature of the spectral density of a matrix H, weighted by a vector v (Lanczos quadrature).

  The sum of weight * f(node) approximates v^T f(H) v / v^T v, and is exact for polynomials f of degree below twice the
  number of iterations. Its mean over random vectors v is the mean of f over the eigenvalues (Ubaru, Chen and Saad 2017,
  Sec. 3).

  Args:
    matvec: Function that multiplies a vector, float64 [size], by H.
    vector: The vector v, float64 [size].
    iterations: Number of products.

  Returns:
    Nodes in ascending order and their weights, which sum to 1, float64 [iterations], fewer if the products of v span
    a smaller space.
  """
  *_, (nodes, vectors, _) = _ritz_pairs(matvec, vector, iterations)
  return nodes, vectors[0] ** 2


def _ritz_pairs(matvec: Matvec, vector: np.ndarray, iterations: int) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
  """Yields, after each product, eigenvalues and eigenvectors of the tridiagonal matrix, and the norm of the residual.

  The eigenvalues are in ascending order, and the eigenvectors in the basis of the Lanczos vectors so far, the first of
  which is the normalized `vector`. The iteration ends if the residual is zero, at the latest in the whole space.
  """
  basis = [vector / np.linalg.norm(vector)]
  diagonal: list[float] = []
  off_diagonal: list[float] = []
  for _ in range(min(iterations, len(vector))):
    product = matvec(basis[-1])
    diagonal.append(float(basis[-1] @ product))
    for _ in ("once", "again"):  # the second pass removes rounding errors of the first
      for each in basis:
        product -= (each @ product) * each
    residual = float(np.linalg.norm(product))
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1))
    yield values, vectors, residual
    if residual <= np.finfo(np.float64).eps * np.abs(values).max():
      return
    off_diagonal.append(residual)
    basis.append(product / residual)
