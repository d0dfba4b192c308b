"""Input strategies: how images are transferred to the devices, and the computations on them.

Images that fit into device memory are held there (`in_memory`). Others are decoded by worker processes of the host
while the devices train (`streaming`), and so are images with boxes (`resjax.detection.input`). All implement
`interface.InputStrategy`; the first two also `interface.ClassificationInput`.
"""

from pathlib import Path

from resjax import models
from resjax.config import Config
from resjax.data import AnyDataset, Dataset, DetectionDataset
from resjax.train.input.in_memory import InMemoryInput
from resjax.train.input.interface import ClassificationInput, InputStrategy, SplitResult

__all__ = ["ClassificationInput", "InputStrategy", "SplitResult", "make"]


def make(config: Config, dataset: AnyDataset, scan: models.ScanOptions, store: Path) -> InputStrategy:
  """Returns the input strategy for a data set, on the devices of the current mesh.

  Args:
    config: Settings of a run, or the shared settings of runs in one program.
    dataset: The images.
    scan: How the stacked blocks of the network are executed.
    store: Directory in which the mean images of streamed data sets are stored.
  """
  if isinstance(dataset, DetectionDataset):
    from resjax.detection.input import DetectionInput  # needs the extra detection

    return DetectionInput(config, dataset, scan)
  net = models.build(config.model, dataset.classes, scan)
  if isinstance(dataset, Dataset):
    return InMemoryInput(config, dataset, net)
  from resjax.train.input.streaming import StreamingInput  # needs the extra imagenet

  return StreamingInput(config, dataset, net, store)
