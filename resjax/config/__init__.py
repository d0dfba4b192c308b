"""Every setting, once: frozen dataclasses whose defaults are the paper's CIFAR-10 recipe (Sec. 4.2).

Experiment files start from a recipe (`recipes.py`), a mutable `ConfigDict` with the same keys, which a sweep and the
command line override by dotted key. `freeze` turns it into the typed, checked `Config` that all other code reads.
"""

from resjax.config.data import Data
from resjax.config.detection import Detection
from resjax.config.model import Model
from resjax.config.recipes import default, detection, digits, imagenet, small_detection, small_images
from resjax.config.root import Config, freeze
from resjax.config.runtime import Checkpoint, Evaluation, Execution, Gradients, Responses
from resjax.config.training import HYPERPARAMETERS, Train, uses_warmup

__all__ = [
  "HYPERPARAMETERS",
  "Checkpoint",
  "Config",
  "Data",
  "Detection",
  "Evaluation",
  "Execution",
  "Gradients",
  "Model",
  "Responses",
  "Train",
  "default",
  "detection",
  "digits",
  "freeze",
  "imagenet",
  "small_detection",
  "small_images",
  "uses_warmup",
]
