"""What does depth do to a network, with and without shortcuts? (Fig. 6, Table 6 and Fig. 7)

    python -m resjax.main --config experiments/cifar_depth_sweep.py
    python -m resjax.main --config experiments/cifar_depth_sweep.py:mini --config.data.path=FOLDER

Residual networks of 20 to 1202 layers and plain networks of 20 to 110 layers on CIFAR-10, with five seeds and the
complete schedule of the paper. The paper's test errors are 8.75, 7.51, 7.17, 6.97, 6.61 and 7.93 % for residual
networks of 20, 32, 44, 56, 110 and 1202 layers; those of plain networks increase with depth. `:mini` is 20 and 44
layers with one seed, shortened to about 45 minutes on two CPU cores. `:short` is 8 to 56 layers with two seeds (three
for 8, 14 and 20 layers), about four hours: 2,000 steps at a quarter of the batch size and of the learning rate, so
that the deeper networks recover from their large initial losses before the rate drops. `:medium` is 20 and 56 layers
with four times the steps of `:short`. `:quarter` is the paper's recipe with a quarter of its steps, about 40 minutes
for 20 layers and two hours for 56 layers on two CPU cores, if nothing else is running.
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
