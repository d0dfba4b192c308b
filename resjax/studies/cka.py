"""Linear centred kernel alignment (CKA) between layers, from unbiased estimates of HSIC over minibatches. No JAX.

Nguyen et al., ICLR 2021 (arXiv 2010.15327, Sec. 2): both the HSIC of two layers and that of each with itself are means
over minibatches, and CKA is their ratio.
"""

from collections.abc import Iterator, Sequence

import numpy as np

AT_ONCE = 32  # layers whose Gram matrices are held together: 64 MB for 500 images


def cka(a: Sequence[np.ndarray], b: Sequence[np.ndarray], minibatch: int) -> np.ndarray:
  """Returns the CKA of each layer of one network with each layer of another, on the same images.

  Args:
    a: Features of each layer of one network, each [images, channels], four images or more.
    b: Features of each layer of the other.
    minibatch: Number of images per estimate of HSIC; the images are split into equal parts of about as many.

  Returns:
    [layers of a, layers of b]; nan where a layer does not vary with the image. Estimates may exceed 1 slightly.
  """
  images = len(a[0])
  products, own_a, own_b = np.zeros((len(a), len(b))), np.zeros(len(a)), np.zeros(len(b))
  for part in np.array_split(np.arange(images), max(images // minibatch, 1)):
    some_a, some_b = ([layer[part] for layer in layers] for layers in (a, b))
    products += hsic(some_a, some_b)
    own_a += _with_itself(some_a)
    own_b += _with_itself(some_b)
  with np.errstate(invalid="ignore", divide="ignore"):
    return products / np.sqrt(np.where(own_a > 0, own_a, np.nan)[:, None] * np.where(own_b > 0, own_b, np.nan))


def hsic(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the unbiased estimate of HSIC, with linear kernels, of each layer in `a` with each in `b`.

  (tr KM + 1'K1 1'M1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'KM1) / (n (n - 3)), diagonals of K and M set to zero.

  Args:
    a: Features of layers, each [n, channels].
    b: Features of layers of the same images.
  """
  found = np.zeros((len(a), len(b)))
  for rows, k in _grams(a):
    for columns, m in _grams(b):
      found[rows, columns] = _hsic(k, m, k.reshape(len(k), -1) @ m.reshape(len(m), -1).T, k.sum(2) @ m.sum(2).T)
  return found


def tiled(matrix: np.ndarray, rows: int, columns: int) -> np.ndarray:
  """Returns the means of `matrix` over tiles of `rows` by `columns`; those at the ends may be smaller."""
  starts = [np.arange(0, size, tile) for size, tile in zip(matrix.shape, (rows, columns), strict=True)]
  counts = [np.diff([*start, size]) for start, size in zip(starts, matrix.shape, strict=True)]
  sums = np.add.reduceat(np.add.reduceat(matrix, starts[0], axis=0), starts[1], axis=1)
  return sums / np.outer(*counts)


def _with_itself(layers: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the HSIC of each layer with itself."""
  found = np.zeros(len(layers))
  for rows, k in _grams(layers):
    sums = k.sum(2)
    found[rows] = np.diagonal(_hsic(k, k, np.diag(np.square(k).sum((1, 2))), np.diag(np.square(sums).sum(1))))
  return found


def _hsic(k: np.ndarray, m: np.ndarray, traces: np.ndarray, through: np.ndarray) -> np.ndarray:
  """Returns HSIC of Gram matrices K [a, n, n] and M [b, n, n] from tr KM and 1'KM1, both [a, b]."""
  n = k.shape[1]
  totals = np.outer(k.sum((1, 2)), m.sum((1, 2)))
  return (traces + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * through) / (n * (n - 3))


def _grams(layers: Sequence[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
  """Yields Gram matrices without their diagonals, [layers, n, n], some layers at a time."""
  for at in range(0, len(layers), AT_ONCE):
    some = layers[at : at + AT_ONCE]
    # HSIC does not depend on the mean; without it, large means cost no digits.
    grams = np.stack([(centred := layer - layer.mean(0)) @ centred.T for layer in some])
    index = np.arange(grams.shape[1])
    grams[:, index, index] = 0
    yield slice(at, at + len(some)), grams
