"""The benchmark on whose table `accelerator_session.sh` depends, in its smallest form on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_case_that_fails_does_not_stop_the_other_cases(tmp_path):
  cases = "8/float32/batch=16,8/float32/batch=16/seeds=2/form=vmap,8/nosuch"
  command = [sys.executable, "-m", "benchmarks.execution_forms", f"--cases={cases}", "--rounds=1", "--seconds=0.05"]
  command += [f"--out={tmp_path / 'out.json'}"]
  environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
  ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
  assert ended.returncode == 0, ended.stderr
  rows = {row["case"]: row for row in json.loads((tmp_path / "out.json").read_text())["cases"]}
  assert set(rows) == set(cases.split(","))
  assert "nosuch" in rows.pop("8/nosuch")["failed"]
  assert all(row["images/s"] > 0 and "failed" not in row for row in rows.values())
