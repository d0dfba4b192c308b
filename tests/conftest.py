"""Every test sees eight devices, as on a slice: eight simulated ones on the CPU."""

import os

import pytest

from tests import shape_checks

os.environ["JAX_NUM_CPU_DEVICES"] = "8"
shape_checks.install()


@pytest.fixture
def in_memory():
  """Returns fsspec's memory, which takes the place of Cloud Storage meanwhile."""
  pytest.importorskip("gcsfs", reason="the extra cloud is not installed")
  from tests.buckets import memory

  with memory() as system:
    yield system
