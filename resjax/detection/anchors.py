"""Anchors of a feature map: boxes of several areas and aspect ratios at each position (Ren et al. 2015, Sec. 3.1.1)."""

import numpy as np


def anchors(sides: tuple[int, int], stride: int, scales: tuple[float, ...], ratios: tuple[float, ...]) -> np.ndarray:
  """Returns the anchors of a feature map, rows first, then columns, ratios and scales.

  Args:
    sides: Height and width of the feature map.
    stride: Pixels of the image between two positions of the map.
    scales: Square roots of the areas, in pixels.
    ratios: Height over width.

  Returns:
    float32 [height * width * len(ratios) * len(scales), 4].
  """
  roots, sizes = np.sqrt(np.array(ratios, np.float32)), np.array(scales, np.float32)
  heights, widths = np.outer(roots, sizes).ravel(), np.outer(1 / roots, sizes).ravel()
  shapes = np.round(np.stack([-widths, -heights, widths, heights], 1) / 2)
  rows, columns = np.meshgrid(*(np.arange(side) * stride for side in sides), indexing="ij")
  shifts = np.stack([columns, rows, columns, rows], -1).reshape(-1, 1, 4)
  return (shifts + shapes).reshape(-1, 4).astype(np.float32)
