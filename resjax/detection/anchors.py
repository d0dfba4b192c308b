"""Anchors: boxes of several areas and aspect ratios at each position of a feature map (Ren et al. 2015, Sec. 3.1.1)."""

import numpy as np


def anchors(map_size: tuple[int, int], stride: int, scales: tuple[float, ...], ratios: tuple[float, ...]) -> np.ndarray:
  """Returns the anchors of a feature map, in the order of rows, columns, ratios and scales.

  Args:
    map_size: Height and width of the feature map.
    stride: Image pixels between neighboring positions of the feature map.
    scales: Square roots of the areas of the anchors, in pixels.
    ratios: Aspect ratios of the anchors, height over width.

  Returns:
    Boxes (left, top, right, bottom) in pixels, float32 [height * width * len(ratios) * len(scales), 4].
  """
  roots, sizes = np.sqrt(np.array(ratios, np.float32)), np.array(scales, np.float32)
  heights, widths = np.outer(roots, sizes).ravel(), np.outer(1 / roots, sizes).ravel()
  shapes = np.round(np.stack([-widths, -heights, widths, heights], 1) / 2)
  rows, columns = np.meshgrid(*(np.arange(length) * stride for length in map_size), indexing="ij")
  shifts = np.stack([columns, rows, columns, rows], -1).reshape(-1, 1, 4)
  return (shifts + shapes).reshape(-1, 4).astype(np.float32)
