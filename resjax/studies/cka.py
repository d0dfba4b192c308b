"""Linear centered kernel alignment (CKA) between layers, from unbiased minibatch estimates of HSIC. Does not use JAX.

As in Nguyen et al., ICLR 2021 (arXiv:2010.15327, Sec. 2), the HSIC of two layers and that of each layer with itself are
averaged over minibatches before their ratio, CKA, is computed.
"""

from collections.abc import Iterator, Sequence

import numpy as np

LAYERS_PER_CHUNK = 32  # layers whose Gram matrices are held in memory at a time: 64 MB for 500 images


def cka(a: Sequence[np.ndarray], b: Sequence[np.ndarray], minibatch: int) -> np.ndarray:
  """Returns the CKA of each layer of one network with each layer of another, on the same images.

  Args:
    a: Features of each layer of one network, each [images, channels], four images or more.
    b: Features of each layer of the other network.
    minibatch: Number of images per estimate of HSIC. The images are split into equal parts of about this size.

  Returns:
    CKA, float64 [layers of a, layers of b]; NaN if a layer does not depend on the image. Estimates can exceed 1.
  """
  images = len(a[0])
  products, own_a, own_b = np.zeros((len(a), len(b))), np.zeros(len(a)), np.zeros(len(b))
  for part in np.array_split(np.arange(images), max(images // minibatch, 1)):
    some_a, some_b = ([layer[part] for layer in layers] for layers in (a, b))
    products += hsic(some_a, some_b)
    own_a += _self_hsic(some_a)
    own_b += _self_hsic(some_b)
  with np.errstate(invalid="ignore", divide="ignore"):
    return products / np.sqrt(np.where(own_a > 0, own_a, np.nan)[:, None] * np.where(own_b > 0, own_b, np.nan))


def hsic(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the unbiased estimate of HSIC, with linear kernels, of each layer in `a` with each in `b`, [a, b].

  It is (tr KM + 1'K1 1'M1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'KM1) / (n (n - 3)), with Gram matrices K and M whose
  diagonals are set to zero.

  Args:
    a: Features of layers, each [n, channels].
    b: Features of other layers for the same images.
  """
  found = np.zeros((len(a), len(b)))
  for rows, k in _grams(a):
    for columns, m in _grams(b):
      found[rows, columns] = _hsic(k, m, k.reshape(len(k), -1) @ m.reshape(len(m), -1).T, k.sum(2) @ m.sum(2).T)
  return found


def tile_means(matrix: np.ndarray, rows: int, columns: int) -> np.ndarray:
  """Returns the means of a matrix over tiles of `rows` by `columns` elements; the last tiles may be smaller."""
  starts = [np.arange(0, size, tile) for size, tile in zip(matrix.shape, (rows, columns), strict=True)]
  counts = [np.diff([*start, size]) for start, size in zip(starts, matrix.shape, strict=True)]
  sums = np.add.reduceat(np.add.reduceat(matrix, starts[0], axis=0), starts[1], axis=1)
  return sums / np.outer(*counts)


def _self_hsic(layers: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the HSIC of each layer with itself."""
  found = np.zeros(len(layers))
  for rows, k in _grams(layers):
    sums = k.sum(2)
    found[rows] = np.diagonal(_hsic(k, k, np.diag(np.square(k).sum((1, 2))), np.diag(np.square(sums).sum(1))))
  return found


def _hsic(k: np.ndarray, m: np.ndarray, traces: np.ndarray, products: np.ndarray) -> np.ndarray:
  """Returns HSIC of Gram matrices K [a, n, n] and M [b, n, n] from `traces` tr KM and `products` 1'KM1, both [a, b]."""
  n = k.shape[1]
  totals = np.outer(k.sum((1, 2)), m.sum((1, 2)))
  return (traces + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * products) / (n * (n - 3))


def _grams(layers: Sequence[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
  """Yields Gram matrices with zero diagonals, [layers, n, n], for a chunk of layers at a time, and its slice."""
  for at in range(0, len(layers), LAYERS_PER_CHUNK):
    some = layers[at : at + LAYERS_PER_CHUNK]
    # HSIC does not depend on the mean, which is subtracted so that a large one does not cost precision.
    grams = np.stack([(centered := layer - layer.mean(0)) @ centered.T for layer in some])
    index = np.arange(grams.shape[1])
    grams[:, index, index] = 0
    yield slice(at, at + len(some)), grams
