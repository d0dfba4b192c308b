"""Data sets (`sources`), the sample order of training (`order`) and augmentation (`augment`).

The names exported here need only numpy. `order` and `augment` need JAX; training imports them.
"""

from resjax.data.annotated_images import DetectionDataset
from resjax.data.dataset import Dataset, Description, FileDataset
from resjax.data.sources import AnyDataset, describe, load

__all__ = ["AnyDataset", "Dataset", "Description", "DetectionDataset", "FileDataset", "describe", "load"]
