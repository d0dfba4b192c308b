"""ResNet-20 for 20 steps from the real CIFAR-10 in each form: the same images, the same run.

Needs RESJAX_CIFAR10, the folder that holds cifar-10-batches-bin.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resjax import records
from tests import cifar_forms
from tests.short_run import folder, what_counts

SHORT = {"train.steps": "20", "train.batch_size": "16", "execution.log_every": "5", "responses.images": "512"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  if "RESJAX_CIFAR10" not in os.environ:
    pytest.skip("RESJAX_CIFAR10 does not name a folder with CIFAR-10")
  out = tmp_path_factory.mktemp("forms")
  return out, cifar_forms.write(Path(os.environ["RESJAX_CIFAR10"]), out)


def train(out, form, settings):
  """Trains, and returns the run's data as recorded, and all that must not depend on the form."""
  workdir = out / "runs" / form
  flags = [f"--config.{key}={value}" for key, value in (SHORT | settings).items()]
  command = [sys.executable, "-m", "resjax.main", "--config", "cifar_depth_sweep", "--workdir", str(workdir)]
  command += ["--only", "depth=20 kind=residual seed=0", *flags]
  environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(out / "compiled")}
  ended = subprocess.run(command, capture_output=True, text=True, env=environment)
  assert ended.returncode == 0, ended.stderr
  found = {key: value for key, value in what_counts(workdir).items() if key != "events"}  # which name the files
  return records.read_run(folder(workdir)).run["data"], found


@pytest.fixture(scope="module")
def first(written):
  out, settings = written
  return train(out, cifar_forms.FORMS[0], settings[cifar_forms.FORMS[0]])


@pytest.mark.parametrize("form", cifar_forms.FORMS[1:])
def test_every_form_gives_the_same_run(form, written, first):
  """To the bit: once read, the forms are the same arrays."""
  out, settings = written
  data, run = train(out, form, settings[form])
  assert (first[0]["form"], data["form"]) == (cifar_forms.FORMS[0], form)
  assert data["images"] == 50_000
  assert data["digest"] == first[0]["digest"]
  assert len(run["metrics"]) == 5  # four lines of five steps, and the test
  assert run == first[1]
