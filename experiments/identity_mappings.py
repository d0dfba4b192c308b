"""Which shortcuts let a thousand layers train? (He et al. 2016, "Identity mappings")

    python -m resjax.main --config experiments/identity_mappings.py
    python -m resjax.main --config experiments/identity_mappings.py:shortcuts
    python -m resjax.main --config experiments/identity_mappings.py:digits
    python -m resjax.main --config experiments/identity_mappings.py:small --config.data.path=FOLDER

Pre-activation networks of 110 layers, and of 164 and 1001 layers with bottleneck blocks, on CIFAR-10. The authors' test
errors are 6.37, 5.46 and 4.92 % (4.89 +- 0.14); with a batch size of 64, the last is 4.62 % (4.69 +- 0.20).
`:shortcuts` is their Table 1 at 110 layers: identity 6.61 %; shortcut scaled by 1/2, failed; shortcut and branch scaled
by 1/2, 12.35 %; exclusive gate 8.70 %; gate on the shortcut 6.91 % (12.86 % with an initial bias of 0); 1x1 convolution
12.22 %; dropout of half of the shortcut, failed. `:digits` is the same table at 20 layers on 8x8 digits and takes
minutes. `:small` is 20 layers of half the width on CIFAR-10 for 300 steps of half the batch size.
"""

from resjax import config
from resjax.sweep import axis, chain, zipped

VARIANTS = ("shortcuts", "digits", "small")


def get_config(variant: str = ""):
  """Returns the recipe of the first paper."""
  c = config.digits() if variant == "digits" else config.default()
  c.model.depth = 20 if variant in ("digits", "small") else 110
  if variant == "digits":
    c.train.learning_rate = 0.02
  if variant == "small":
    c.model.width = 8
    c.train.batch_size = 64
    c.train.learning_rate = 0.05
    c.train.steps = 300
    c.evaluation.every = c.checkpoint.every = 150
    c.execution.log_every = 50
  if not variant:
    c.model.preactivation = True
  return c


def sweep(variant: str = ""):
  """Returns the deep networks, or the shortcuts."""
  if variant:
    others = axis("model.shortcut", ("A", "half", "mean", "exclusive_gate", "gate", "C", "dropout"))
    return chain(others, zipped(axis("model.shortcut", ("gate",)), axis("model.gate_bias", (0.0,))))
  blocks = ("basic", "bottleneck", "bottleneck", "bottleneck")
  batches, steps = axis("train.batch_size", (128, 128, 128, 64)), axis("train.steps", (64_000, 64_000, 64_000, 128_000))
  return zipped(axis("model.depth", (110, 164, 1001, 1001)), axis("model.block", blocks), batches, steps)
