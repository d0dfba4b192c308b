"""The gradient by path length: against differentiation with scaled derivatives of the main branches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from resjax import study, study_records
from resjax.config import Model
from resjax.data.augment import normalize
from resjax.studies import gradient_paths, segmented_model
from tests import random_networks

NET = Model(depth=8, blocks=(2, 1), width=4)


@pytest.fixture(scope="module")
def images():
  rng = np.random.default_rng(1)
  return jnp.asarray(rng.integers(0, 256, (6, 8, 8, 1), np.uint8)), jnp.asarray(np.arange(6) % 10)


@functools.partial(jax.jit, static_argnames="model")
def whole_gradient(model, variables, statistics, images, factor):
  """Returns the gradient by the input of the first block, with the derivatives of main branches times `factor`."""
  taken = segmented_model.SegmentedModel(model, 10)

  def scaled(y):
    return factor * y + jax.lax.stop_gradient((1 - factor) * y)

  def loss(x):
    for stage, blocks in taken.stages.items():
      x, _ = taken.block(stage, True, segmented_model.part(variables, stage, "block1"), x, False, scaled)
      for i in range(blocks - 1):
        x, _ = taken.block(
          stage,
          False,
          segmented_model.select_block(segmented_model.part(variables, stage, "rest"), i),
          x,
          False,
          scaled,
        )
    logits, _ = taken.head(variables, x, False)
    return optax.softmax_cross_entropy_with_integer_labels(logits, images[1]).sum()

  start, _ = taken.stem(variables, normalize(images[0], statistics), False)
  return jax.grad(loss)(start)


def test_parts_of_the_gradient_are_the_coefficients_of_a_polynomial_in_the_factor(images):
  """Products with the whole gradient agree to 1e-4 at three factors; the last batch is incomplete."""
  net = random_networks.restored_run(NET, 8)
  gradient = functools.partial(whole_gradient, NET, net.variables, net.input.statistics, images)
  found = gradient_paths.decompose(
    segmented_model.SegmentedModel(NET, 10), 4, net.variables, *images, net.input.statistics
  )
  products, squares, square = (np.asarray(array, np.float64) for array in found)
  assert len(products) == len(squares) == 4
  assert products.sum() / square == pytest.approx(1, abs=1e-4)
  whole = gradient(1.0)
  assert square == pytest.approx(float((whole * whole).sum()), rel=1e-4)
  for factor in (0.0, 0.5, 2.0):
    expected = float((gradient(factor) * whole).sum())
    assert products @ factor ** np.arange(4) == pytest.approx(expected, rel=1e-4, abs=1e-4 * square)
  shortest = gradient(0.0)
  assert squares[0] == pytest.approx(float((shortest * shortest).sum()), rel=1e-4)
  assert (squares > 0).all()


def test_the_command_writes_norms_and_shares(tmp_path, capsys):
  """The gradient of a plain network flows through the one path of all blocks."""
  plain = dataclasses.replace(NET, kind="plain")
  directory = random_networks.write_digits_run(tmp_path / "net", plain)
  few = ["--images=26", "--batch_size=26", "--path_images=6", "--path_batch_size=4"]
  assert study.main(["gradients", "--workdir", str(tmp_path), *few]) == 0
  logs, torn = study_records.read(directory)
  assert torn == 0 and [row["layer"] for row in logs["gradients"]] == list(range(1, 9))
  assert all(row["norm"] > 0 and row["weight_norm"] > 0 and row["mode"] == "batch" for row in logs["gradients"])
  shares = [row["share"] for row in logs["paths"]]
  assert [row["length"] for row in logs["paths"]] == [0, 1, 2, 3]
  assert shares[:3] == [0, 0, 0] and shares[3] == pytest.approx(1, abs=1e-4)
  assert "mean path length" in capsys.readouterr().out
  assert study.main(["gradients", "--workdir", str(tmp_path), *few]) == 0
  assert study_records.read(directory)[0] == logs
