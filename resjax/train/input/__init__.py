"""Input strategies: how the images reach the devices, and what is computed on them.

Images that fit into device memory stay there (`in_memory`); the others are decoded by worker processes of the host
while the devices train (`streaming`). Both implement `interface.InputStrategy`.
"""

from pathlib import Path

from flax import linen as nn

from resjax.config import Config
from resjax.data import Dataset, FileDataset
from resjax.train.input.in_memory import InMemoryInput
from resjax.train.input.interface import InputStrategy, SplitResult

__all__ = ["InputStrategy", "SplitResult", "make"]


def make(config: Config, dataset: Dataset | FileDataset, net: nn.Module, store: Path) -> InputStrategy:
  """Returns the input strategy for a data set, on the devices of the current mesh.

  Args:
    config: Settings of a run, or the shared settings of runs in one program.
    dataset: The images.
    net: The network.
    store: Directory in which the mean images of streamed data sets are stored.
  """
  if isinstance(dataset, Dataset):
    return InMemoryInput(config, dataset, net)
  from resjax.train.input.streaming import StreamingInput  # needs the extra imagenet

  return StreamingInput(config, dataset, net, store)
