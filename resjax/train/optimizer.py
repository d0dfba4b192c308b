"""SGD with momentum and weight decay (Sec. 4.2). The rate comes in at the step: it follows the run, see `schedule`."""

from typing import Any

import jax
import optax

from resjax import config


def make(train: config.Train) -> optax.GradientTransformation:
  """Returns the transformation from gradients to the direction that the rate multiplies.

  Weight decay is added to the gradient, before momentum; `decay_norm_and_bias` says whether norm scales and biases, the
  leaves named "scale" and "bias", take part.
  """
  return optax.chain(
    optax.add_decayed_weights(train.weight_decay, None if train.decay_norm_and_bias else _kernels),
    optax.trace(train.momentum, train.nesterov),
  )


def _kernels(params: Any) -> Any:
  return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)
