"""ResNet-20 trained for 20 steps on the real CIFAR-10 in each of its forms: all runs are bit-identical.

Needs RESJAX_CIFAR10, the folder that contains cifar-10-batches-bin.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resjax import records
from tests import cifar_forms
from tests.short_run import reproducible_records, run_directory

SHORT = {"train.steps": "20", "train.batch_size": "16", "execution.log_every": "5", "responses.images": "512"}


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
  """Returns a folder with CIFAR-10 in each form, and the settings that read each."""
  if "RESJAX_CIFAR10" not in os.environ:
    pytest.skip("RESJAX_CIFAR10 does not name a folder with CIFAR-10")
  out = tmp_path_factory.mktemp("forms")
  return out, cifar_forms.write(Path(os.environ["RESJAX_CIFAR10"]), out)


def train(out, form, settings):
  """Trains a run and returns the description of the data in its record, and all that must not depend on the form."""
  workdir = out / "runs" / form
  flags = [f"--config.{key}={value}" for key, value in (SHORT | settings).items()]
  command = [sys.executable, "-m", "resjax.main", "--config", "cifar_depth_sweep", "--workdir", str(workdir)]
  command += ["--only", "depth=20 kind=residual seed=0", *flags]
  environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(out / "compiled")}
  ended = subprocess.run(command, capture_output=True, text=True, env=environment)
  assert ended.returncode == 0, ended.stderr
  run = {key: value for key, value in reproducible_records(workdir).items() if key != "events"}  # they name the files
  return records.read_run(run_directory(workdir)).run["data"], run


@pytest.fixture(scope="module")
def reference(forms):
  """Returns the data and the run of the first form."""
  out, settings = forms
  return train(out, cifar_forms.FORMS[0], settings[cifar_forms.FORMS[0]])


@pytest.mark.parametrize("form", cifar_forms.FORMS[1:])
def test_runs_on_all_forms_are_bit_identical(form, forms, reference):
  out, settings = forms
  data, run = train(out, form, settings[form])
  assert (reference[0]["form"], data["form"]) == (cifar_forms.FORMS[0], form)
  assert data["images"] == 50_000
  assert data["digest"] == reference[0]["digest"]
  assert len(run["metrics"]) == 5  # four lines of training and one of the test set
  assert run == reference[1]
