"""Errors of the environment in one line: the platform and precision of JAX, and too little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = (
  *(sys.executable, "-m", "resjax.main", "--config", "quickstart", "--workdir", "runs"),
  *("--config.train.steps=2", "--config.evaluation.every=2", "--config.checkpoint.every=2"),
)


def run(folder, *arguments, **variables):
  """Runs the command in a folder, with further arguments and environment variables."""
  environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"} | variables
  command = [*RUN, *arguments]
  return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
  ("variables", "message"),
  [
    ({"JAX_PLATFORMS": "cuda"}, "JAX_PLATFORMS = 'cuda': JAX cannot start this backend"),
    ({"JAX_PLATFORMS": "tpu"}, "JAX_PLATFORMS = 'tpu': JAX cannot start this backend"),
    ({"JAX_PLATFORMS": "nosuch"}, "JAX_PLATFORMS = 'nosuch': JAX cannot start this backend"),
    ({"JAX_ENABLE_X64": "1"}, "JAX_ENABLE_X64 = 1: must be unset or 0"),
  ],
  ids=["cuda", "tpu", "nosuch", "64-bit"],
)
def test_an_unusable_platform_or_precision_is_a_one_line_error(tmp_path, variables, message):
  result = run(tmp_path, "--only", "kind=residual depth=8", **variables)
  assert result.returncode == 2, result.stderr
  last = result.stderr.strip().splitlines()[-1]  # after JAX's own log
  assert message in last
  assert "Traceback" not in result.stderr
  assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") > 90e9, reason="memory suffices")
def test_a_run_without_enough_memory_fails_and_names_settings_that_need_less(tmp_path):
  """A batch of a million images takes about 100 GB, more than the machine has, so that nothing is allocated."""
  result = run(tmp_path, "--only", "kind=residual,plain depth=8", "--config.train.batch_size=1200000")
  assert result.returncode == 1, result.stderr
  runs = [json.loads(path.read_text()) for path in sorted((tmp_path / "runs" / "quickstart").glob("*/run.json"))]
  assert [run["status"] for run in runs] == ["failed", "failed"]
  for each in runs:
    assert "out of memory" in each["reason"]
    assert "execution.remat=block or group" in each["reason"]
    assert "train.batch_size below 1200000" in each["reason"]
