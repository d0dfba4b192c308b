"""Checkpoints: none is skipped, the newest are kept, either layout comes back to the bit."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from resjax.config import Model, Train
from resjax.models import layout
from resjax.train.checkpoints import Checkpoints
from resjax.train.state import in_layout, initial


@pytest.fixture(scope="module")
def state():
  return initial(Model(depth=14), Train(), 10, (8, 8, 1), scan=True, seed=3)


def at(state, step):
  return dataclasses.replace(state, step=jnp.int32(step))


def equal(one, other):
  return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, other))


def test_saves_in_quick_succession_are_all_made(state, tmp_path):
  with Checkpoints(tmp_path / "kept", keep=2, scan=True) as checkpoints:
    for step in range(1, 9):
      checkpoints.save(at(state, step))
  assert sorted(int(path.name) for path in (tmp_path / "kept").iterdir() if path.name.isdigit()) == [7, 8]


@pytest.mark.parametrize("saved_scanned", [True, False])
@pytest.mark.parametrize("restored_scanned", [True, False])
def test_either_layout_comes_back(state, tmp_path, saved_scanned, restored_scanned):
  forms = {True: state, False: in_layout(state, layout.unstacked)}
  with Checkpoints(tmp_path, keep=1, scan=saved_scanned) as checkpoints:
    assert checkpoints.latest is None
    checkpoints.save(at(forms[saved_scanned], 5))
  with Checkpoints(tmp_path, keep=1, scan=restored_scanned) as checkpoints:
    assert checkpoints.latest == 5
    restored = checkpoints.restore(forms[restored_scanned])
  assert equal(restored, at(forms[restored_scanned], 5))
