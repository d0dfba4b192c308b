"""Gradient norms of layers: against plain differentiation, and separate from the training step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import data, mesh, models
from resjax.config import Config, Data, Execution, Gradients, Model, Train
from resjax.data.augment import normalize
from resjax.models import layout
from resjax.train import batched_runs, gradients, state, step
from resjax.train.input.in_memory import InMemoryInput
from resjax.train.periodic_actions import PeriodicActions

CONFIG = Config(
  model=Model(depth=10, blocks=(2, 1, 1)),
  execution=Execution(devices=1),
  data=Data(name="digits", pad=1, mirror=False),
  train=Train(steps=20, batch_size=32),
  gradients=Gradients(every=10, images=64, batch_size=32),
)


@pytest.fixture(scope="module", autouse=True)
def mesh_of_config():
  with jax.set_mesh(mesh.make(CONFIG)):
    yield


@pytest.fixture(scope="module")
def digits():
  return data.load(CONFIG.data)


@pytest.fixture(scope="module")
def in_memory_input(digits):
  return InMemoryInput(CONFIG, digits, models.build(CONFIG.model, 10))


@pytest.fixture(scope="module")
def start():
  return state.initial(CONFIG.model, CONFIG.train, 10, (8, 8, 1), seed=0)


def test_norms_are_those_of_the_mean_gradient(in_memory_input, start, digits):
  """The gradient is the mean over two batches; float32 sums in another order agree to 1e-4."""
  variables = {"params": start.params, "batch_stats": start.batch_stats}
  table = CONFIG.model.net((8, 8, 1), 10).table
  rows = gradients.lines(5, table, in_memory_input.capture_gradients(variables))
  net = models.build(CONFIG.model, 10)

  @jax.jit
  @jax.grad
  def gradient_of(params, images, labels):
    logits, _ = net.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
    return -jax.nn.log_softmax(logits)[jnp.arange(32), labels].mean()

  images = normalize(digits.train_images[:64], in_memory_input.statistics)
  halves = [gradient_of(start.params, images[at : at + 32], digits.train_labels[at : at + 32]) for at in (0, 32)]
  whole = layout.unstacked(jax.tree.map(lambda one, other: (one + other) / 2, *halves))
  assert [row["layer"] for row in rows] == list(range(1, 11))
  assert rows[0]["name"] == "stem/conv" and rows[4]["name"] == "stage1/block2/conv2"
  assert rows[-1]["name"] == "head/dense" and {row["step"] for row in rows} == {5}
  for row in rows:
    gradient, weights = whole, layout.unstacked(start.params)
    for part in (*row["name"].split("/"), "kernel"):
      gradient, weights = gradient[part], weights[part]
    assert row["norm"] == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-4), row["name"]
    assert row["weight_norm"] == pytest.approx(float(np.linalg.norm(weights)), rel=1e-5), row["name"]


def test_capturing_gradients_does_not_change_the_training_program(digits, start):
  texts = set()
  for every in (0, 10):
    config = dataclasses.replace(CONFIG, gradients=dataclasses.replace(CONFIG.gradients, every=every))
    scan = models.ScanOptions(config.execution.unroll, config.execution.remat)
    net = models.build(config.model, digits.classes, scan)
    images = InMemoryInput(config, digits, net).training_set
    hyperparameters = batched_runs.hyperparameters([config.train])
    states = batched_runs.stack([start])
    arguments = step.Program(net, config.train, config.data), 20, states, hyperparameters, images, jnp.int32(0)
    texts.add(step.train_steps.lower(*arguments).as_text())
  assert len(texts) == 1


def test_gradients_are_captured_at_periodic_and_listed_steps():
  chosen = dataclasses.replace(CONFIG.gradients, every=8, steps=(0, 3))
  actions = PeriodicActions(dataclasses.replace(CONFIG, gradients=chosen))
  assert [done for done in range(21) if actions.gradients_due(done)] == [0, 3, 8, 16]
  assert [actions.next_stop(done) for done in (0, 3, 8)] == [3, 8, 16]
  assert actions.any_due(3) and not actions.any_due(4)
