"""Checkpoints: none is skipped, the newest are kept, the state comes back to the bit."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from resjax.config import Model, Train
from resjax.train.checkpoints import Checkpoints
from resjax.train.state import initial


@pytest.fixture(scope="module")
def state():
  return initial(Model(depth=14), Train(), 10, (8, 8, 1), seed=3)


def at(state, step):
  return dataclasses.replace(state, step=jnp.int32(step))


def equal(one, other):
  return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, other))


def test_saves_in_quick_succession_are_all_made(state, tmp_path):
  with Checkpoints(tmp_path / "kept", keep=2) as checkpoints:
    for step in range(1, 9):
      checkpoints.save(at(state, step))
  assert sorted(int(path.name) for path in (tmp_path / "kept").iterdir() if path.name.isdigit()) == [7, 8]


def test_a_state_comes_back_to_the_bit(state, tmp_path):
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    assert checkpoints.latest is None
    checkpoints.save(at(state, 5))
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    assert checkpoints.latest == 5
    restored = checkpoints.restore(state)
  assert equal(restored, at(state, 5))
