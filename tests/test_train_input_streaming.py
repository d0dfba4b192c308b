"""Training on image files as they are decoded: goes on anywhere, counts every image, names the broken ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import config, mesh, models
from resjax.data import load
from resjax.data.augment import lighting
from resjax.train import batched_runs, state
from resjax.train.input.streaming import StreamingInput
from tests.synthetic_images import write_train_and_val

RUN = {
  "model": {"depth": 8},
  "data": {"name": "folder", "image_size": 16, "resize": (18, 24)},
  "train": {"steps": 6, "batch_size": 8},
  "evaluation": {"batch_size": 8},
  "responses": {"images": 4, "batch_size": 4},
  "execution": {"devices": 2, "workers": 0},
}


@pytest.fixture
def training(tmp_path):
  """Returns what makes a `StreamingInput` anew, its states before the first step, and the folder of its images."""
  folder = write_train_and_val(tmp_path / "photos")
  settings = config.freeze(RUN | {"data": RUN["data"] | {"path": str(folder)}})
  net = models.build(settings.model, 2, models.ScanOptions(1, "none"))
  with jax.set_mesh(mesh.make(settings)):
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    hyperparameters = jax.device_put(batched_runs.hyperparameters([settings.train]), everywhere)

    def start(seed=0):
      first = state.initial(settings.model, settings.train, 2, (16, 16, 3), seed)
      return batched_runs.stack([jax.device_put(first, everywhere)])

    yield lambda: StreamingInput(settings, load(settings.data), net, tmp_path / "store"), hyperparameters, start, folder


def same(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_goes_on_anywhere(training):
  """Bit by bit: the same program on the same batches."""
  make, hyperparameters, start, _ = training
  whole, interval = make().advance(start(), hyperparameters, 5, 10)
  assert (int(interval.steps[0]), int(whole.step[0])) == (5, 5)
  first = make()
  states, _ = first.advance(start(), hyperparameters, 2, 10)
  states, _ = first.advance(states, hyperparameters, 3, 10)
  states, _ = make().advance(states, hyperparameters, 5, 10)
  same(states, whole)
  other, _ = make().advance(start(seed=1), hyperparameters, 5, 10)
  assert not np.array_equal(jax.tree.leaves(other.params)[0], jax.tree.leaves(whole.params)[0])


def test_every_image_is_tested_and_broken_ones_are_named(training):
  make, hyperparameters, start, folder = training
  streamed = make()
  one = jax.tree.map(lambda leaf: leaf[0], start())
  variables = {"params": one.params, "batch_stats": one.batch_stats}
  result = streamed.evaluate(variables, "test")
  assert (result.images, streamed.faults(), streamed.splits, streamed.images) == (6, (), ("test",), 10)
  assert 0 <= result.error <= 1
  assert result.loss == pytest.approx(np.log(2), abs=3)
  (folder / "val/class0/val_0.JPEG").write_bytes(b"")
  (folder / "train/class1/train_0.JPEG").write_bytes(b"")
  streamed = make()
  assert streamed.evaluate(variables, "test").images == 5
  _, interval = streamed.advance(start(), hyperparameters, 3, 10)
  assert np.isfinite(interval.loss[0])
  assert [fault.split(":")[0] for fault in streamed.faults()] == [
    "val/class0/val_0.JPEG",
    "train/class1/train_0.JPEG",
  ]
  assert jax.tree.leaves(streamed.capture_responses(variables))
  for leaf in jax.tree.leaves(streamed.average_statistics(variables)):
    assert np.isfinite(leaf).all()


def test_lighting():
  """Against numpy, which adds the components one by one; to the rounding of float32."""
  components = np.array([[0.1, 0.01, 0.002], [0.1, 0.0, -0.003], [0.1, -0.01, 0.001]], np.float32)
  images = np.random.default_rng(0).random((400, 3, 2, 3), np.float32)
  key = jax.random.key(0)
  added = np.asarray(lighting(key, jnp.asarray(images), jnp.asarray(components), 0.1)) - images
  shares = np.asarray(jax.random.normal(key, (400, 3))) * 0.1
  expected = sum(shares[:, k, None] * components[:, k] for k in range(3))
  np.testing.assert_allclose(added, np.broadcast_to(expected[:, None, None], added.shape), atol=1e-6)
  assert abs(shares.std() - 0.1) < 0.01
