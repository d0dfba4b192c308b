"""Shapes in argument names are checked under test, and a wrong shape is an error."""

import importlib

import jax.numpy as jnp
import pytest

from tests import shape_checks

pytest.importorskip("jaxtyping")
CHECKED_MODULES = (
  *("resjax.data.augment", "resjax.detection.boxes", "resjax.models.norm", "resjax.models.shortcuts"),
  *("resjax.studies.segmented_model", "resjax.train.evaluate"),
)


@pytest.mark.parametrize("name", CHECKED_MODULES)
def test_functions_of_all_packages_are_checked(name):
  importlib.import_module(name)
  assert any(each.startswith(name) for each in shape_checks.checked)


def test_a_wrong_rank_is_an_error():
  from jaxtyping import TypeCheckError

  from resjax.models.pool import max_pool

  assert max_pool(jnp.zeros((2, 4, 4, 3)), 2, ((0, 0), (0, 0))).shape == (2, 2, 2, 3)
  with pytest.raises(TypeCheckError, match="max_pool"):
    max_pool(jnp.zeros((4, 4, 3)), 2, ((0, 0), (0, 0)))


def test_axes_of_the_same_letter_must_have_equal_lengths():
  from jaxtyping import TypeCheckError

  from resjax.models.norm import normalize

  x = jnp.ones((2, 4, 4, 3))
  assert normalize(x, jnp.ones(3), jnp.zeros(3), 1e-5)[0].shape == x.shape
  with pytest.raises(TypeCheckError, match="normalize"):
    normalize(x, jnp.ones(4), jnp.zeros(3), 1e-5)


def test_a_digit_is_a_required_length():
  from jaxtyping import TypeCheckError

  from resjax.detection.boxes import iou

  assert iou(jnp.zeros((2, 4)), jnp.zeros((3, 4))).shape == (2, 3)
  with pytest.raises(TypeCheckError, match="iou"):
    iou(jnp.zeros((2, 5)), jnp.zeros((3, 4)))
