"""Images: where they come from (`sources`), which make up a step (`order`), what is done to them (`augment`).

This package's own names need numpy only. `order` and `augment` need JAX and are imported by training.
"""

from resjax.data.dataset import Dataset, Description, FileDataset
from resjax.data.sources import describe, load

__all__ = ["Dataset", "Description", "FileDataset", "describe", "load"]
