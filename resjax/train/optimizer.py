"""SGD with momentum and weight decay (Sec. 4.2), or Adagrad, without the learning rate, which `schedule` computes."""

from typing import Any

import jax
import optax

from resjax import config

ADAGRAD_EPSILON = 1e-10  # added to the root of the sum of squared gradients, as in PyTorch


def make(train: config.Train) -> optax.GradientTransformation:
  """Returns the transformation from gradients to the direction that is multiplied by the learning rate.

  Weight decay is added to the gradient before momentum is applied. Without `decay_norm_and_bias` it is limited to the
  leaves named "kernel".

  Args:
    train: Settings of training.
  """
  decay = optax.add_decayed_weights(train.weight_decay, None if train.decay_norm_and_bias else _kernels)
  if train.optimizer == "adagrad":
    return optax.chain(decay, optax.scale_by_rss(initial_accumulator_value=0.0, eps=ADAGRAD_EPSILON**2))
  return optax.chain(decay, optax.trace(train.momentum, train.nesterov))


def _kernels(params: Any) -> Any:
  return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)
