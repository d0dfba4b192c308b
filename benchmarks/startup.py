"""Seconds from the command to the end of the first step, with an empty and with a warm compilation cache.

    python -m benchmarks.startup [--depths 20,1202] [--rounds 3] [--out startup.json]

Each value is from a new process of `python -m resjax.main` on random images of CIFAR's size, up to the first line of
its log. With eight images per step, the step itself is negligible at 20 layers and takes some seconds at 1202.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import measure
from benchmarks.implementations import IMAGE

_DEPTHS = flags.DEFINE_list("depths", ["20", "1202"], "Depths of the residual networks.")
BATCH = 8


def first_step(folder: Path, depth: str, workdir: Path) -> float:
  """Starts a run of one step and returns the seconds until its line is in the log."""
  settings = {
    "model.depth": depth,
    "data.name": "npz",
    "data.path": str(folder / "images.npz"),
    "train.steps": "1",
    "train.batch_size": str(BATCH),
    "evaluation.batch_size": str(BATCH),
    "responses.batch_size": str(BATCH),
    "responses.images": str(BATCH),
    "responses.final": "false",
    "execution.log_every": "1",
  }
  command = [sys.executable, "-u", "-m", "resjax.main", "--config", "cifar_shortcuts", "--workdir", str(workdir)]
  command += [
    "--only",
    f"depth={depth} shortcut=A seed=0",
    *(f"--config.{key}={value}" for key, value in settings.items()),
  ]
  start = time.perf_counter()
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL) as process:
    assert process.stdout is not None
    for line in process.stdout:
      if "train loss" in line:
        seconds = time.perf_counter() - start
        process.stdout.read()
        return seconds
  raise RuntimeError(f"no step: {' '.join(command)}")


def main(_) -> None:
  rng = np.random.default_rng(0)
  os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
  seconds: dict[tuple[str, str], list[float]] = {}
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    images, labels = rng.integers(0, 256, (64, *IMAGE), np.uint8), np.arange(64) % 10
    np.savez(folder / "images.npz", x_train=images, y_train=labels, x_test=images[:8], y_test=labels[:8])
    for round_ in range(measure.ROUNDS.value):
      for depth in _DEPTHS.value:
        workdir = folder / f"{depth}-{round_}"
        for cache in ("cold", "warm"):
          seconds.setdefault((depth, cache), []).append(first_step(folder, depth, workdir))
          for runs in workdir.glob("cifar_shortcuts"):  # the next start is of a new run with the same programs
            runs.rename(workdir / f"done-{cache}")
  rows = [
    {"depth": depth, "cache": cache, "s to the first step": measure.spread(values, 1)}
    for (depth, cache), values in seconds.items()
  ]
  measure.report(rows, seconds={" ".join(key): values for key, values in seconds.items()})


if __name__ == "__main__":
  app.run(main)
