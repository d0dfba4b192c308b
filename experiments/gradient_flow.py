"""Do gradients vanish or explode with depth, and what prevents it: shortcuts, batch normalization, ReLU?

    python -m resjax.main --config experiments/gradient_flow.py

Plain and residual networks of 8, 20 and 44 layers on scikit-learn's handwritten digits, with and without batch norm,
with ReLU and with sigmoid. gradients.jsonl holds the norm of the gradient with respect to the kernel of each layer,
before the first step and during the first hundred steps. `:cifar` is the same at 20, 56 and 110 layers on CIFAR-10.
"""

from resjax import config
from resjax.sweep import axis, product

VARIANTS = ("cifar",)


def get_config(variant: str = ""):
  """Returns the paper's recipe, shortened to the beginning of training; without norms its rate is too large."""
  c = config.default() if variant == "cifar" else config.digits()
  c.train.steps = 100
  c.train.learning_rate = 0.01
  c.evaluation.every = 50
  c.checkpoint.every = 0
  c.gradients.steps = (0, 10, 20, 50, 100)
  c.gradients.images = 256
  c.execution.log_every = 10
  return c


def sweep(variant: str = ""):
  """Returns three depths of each kind, norm and activation."""
  depths = axis("model.depth", (20, 56, 110) if variant == "cifar" else (8, 20, 44))
  kinds = axis("model.kind", ("residual", "plain"))
  norms, activations = axis("model.norm", ("batch", "none")), axis("model.activation", ("relu", "sigmoid"))
  return product(depths, norms, activations, kinds)
