"""Fixtures of all tests, which see eight simulated CPU devices and run with shape checks."""

import os
import signal
from pathlib import Path

import pytest

from tests import shape_checks

os.environ["JAX_NUM_CPU_DEVICES"] = "8"
shape_checks.install()


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
  """Returns environment variables for commands: two devices and a shared cache of compiled programs."""
  cache = tmp_path_factory.mktemp("compiled")
  return {
    **os.environ,
    "PYTHONPATH": str(Path(__file__).parents[1]),
    "JAX_NUM_CPU_DEVICES": "2",
    "JAX_COMPILATION_CACHE_DIR": str(cache),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
  }


@pytest.fixture(params=["cifar10", "cifar100"])
def small_cifar(request, monkeypatch):
  """Returns the name of a data set whose files have a few records during the test."""
  from resjax.data.cifar_format import FAMILIES
  from tests.synthetic_cifar import small_family

  monkeypatch.setitem(FAMILIES, request.param, small_family(request.param))
  return request.param


@pytest.fixture
def in_memory_bucket():
  """Yields an in-memory file system that replaces Cloud Storage during the test."""
  pytest.importorskip("gcsfs", reason="the extra cloud is not installed")
  from tests.buckets import in_memory_buckets

  with in_memory_buckets() as file_system:
    yield file_system


@pytest.fixture
def handlers():
  """Restores the signal handlers of this process after the test."""
  numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
  before = [signal.getsignal(number) for number in numbers]
  yield
  for number, handler in zip(numbers, before, strict=True):
    signal.signal(number, handler)
