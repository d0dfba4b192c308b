"""What does depth do to a net, with and without shortcuts? (Fig. 6, Table 6 and Fig. 7)

    python -m resjax.main --config experiments/cifar_depth_sweep.py
    python -m resjax.main --config experiments/cifar_depth_sweep.py:mini --config.data.path=FOLDER

Residual nets of 20 to 1202 layers and plain ones of 20 to 110 on CIFAR-10, five seeds, the paper's whole schedule. The
paper's test errors: 8.75, 7.51, 7.17, 6.97, 6.61 and 7.93 % for residual 20, 32, 44, 56, 110 and 1202; plain nets get
worse with depth. `:mini` is depth 20 and 44, one seed, shortened to about 45 minutes on two CPU cores. `:short` is
depth 8 to 56, two seeds, and a third of 8, 14 and 20 layers, some three hours: 2,000 steps of a quarter of the batch at
a quarter of the rate, so that there are enough steps for the deeper nets' large first losses to have gone before the
rate drops. `:medium` asks of depth 20 and 56 whether four times the steps change what `:short` finds. `:quarter` is the
paper's batch and rate for a quarter of its steps, and nothing else changed: on two CPU cores about 1.6 hours for a net
of 20 layers and 5 for one of 56.
"""

from resjax import config
from resjax.sweep import axis, chain, product, zipped

VARIANTS = ("mini", "short", "medium", "quarter")


def get_config(variant: str = ""):
  """Returns the paper's recipe; the variants end after fewer steps, with the same two drops in proportion."""
  c = config.default()
  if not variant:
    c.responses.steps = c.gradients.steps = (0, 1000, 4000, 16_000, 32_000, 48_000)
  if variant == "mini":
    c.train.steps = 800
    c.evaluation.every = c.checkpoint.every = 200
    c.execution.log_every = 20
  if variant in ("short", "medium"):
    times = 4 if variant == "medium" else 1
    c.train.steps = times * 2000
    c.train.batch_size, c.train.learning_rate = 32, 0.025
    c.evaluation.every = times * 500
    c.checkpoint.every = 250
    c.execution.log_every = 50
    c.responses.steps = c.gradients.steps = tuple(times * step for step in (0, 250, 500, 1000, 1500))
  if variant == "quarter":
    c.train.steps = 16_000
    c.checkpoint.every = 500
    c.responses.steps = c.gradients.steps = (0, 1000, 4000, 8000, 12_000)
  return c


def sweep(variant: str = ""):
  """Returns the runs, all depths of one seed before the next seed."""
  kinds = axis("model.kind", ("residual", "plain"))
  if variant == "mini":
    return product(axis("model.depth", (20, 44)), kinds)
  if variant == "quarter":
    ordered = zipped(
      axis("model.kind", ("residual", "plain", "residual", "plain", "residual", "residual", "plain")),
      axis("model.depth", (20, 20, 56, 56, 32, 110, 32)),
    )
    return chain(ordered, product(axis("seed", (1,)), axis("model.depth", (20, 56)), kinds))
  if variant == "medium":
    return product(axis("seed", range(2)), axis("model.depth", (20, 56)), kinds)
  if variant == "short":
    every = product(axis("seed", range(2)), axis("model.depth", (20, 56, 32, 14, 8)), kinds)
    return chain(every, product(axis("seed", (2,)), axis("model.depth", (20, 14, 8)), kinds))
  residual = product(axis("model.kind", ("residual",)), axis("model.depth", (20, 32, 44, 56, 110, 1202)))
  plain = product(axis("model.kind", ("plain",)), axis("model.depth", (20, 32, 44, 56, 110)))
  return product(axis("seed", range(5)), chain(residual, plain))
