"""Values of run.json that say where results come from: settings, data, hardware, software and command."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from resjax import experiment_cli, listing, mesh
from resjax.config import Config
from resjax.data import AnyDataset, DetectionDataset
from resjax.sweep import Run
from resjax.train import execution

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")  # whose versions are recorded


def of_run(run: Run, question: str, dataset: AnyDataset) -> dict[str, Any]:
  """Returns the values that are known before a run starts.

  Args:
    run: The run.
    question: Question of the experiment.
    dataset: Data set of the run.
  """
  row = listing.row(run)
  return {
    **{key: row[key] for key in ("id", "experiment", "variant", "kind", "depth", "shortcut", "seed", "params", "macs")},
    "question": question,
    "config_digest": run.config.digest,
    "step": 0,
    "steps": run.config.train.steps,
    "data": {
      "name": dataset.name,
      "path": dataset.path,
      "form": dataset.form,
      "images": dataset.count("train"),
      "digest": dataset.digest,
      **_classes(dataset),
    },
    "deviations": run.config.deviations(),
  }


def _classes(dataset: AnyDataset) -> dict[str, Any]:
  """Returns the names of the classes in the order of the outputs; of a detector also their numbers in annotations."""
  if isinstance(dataset, DetectionDataset):
    return {"class_names": dataset.class_names, "category_ids": dataset.category_ids}
  return {"class_names": dataset.class_names} if dataset.class_names else {}


def of_environment(config: Config) -> dict[str, Any]:
  """Returns the values that describe the hardware and software on which a run with these settings is executed."""
  devices = mesh.make(config)
  first = devices.devices.flat[0]
  return {
    "devices": {
      "platform": first.platform,
      "kind": first.device_kind,
      "count": devices.size,
      "processes": jax.process_count(),
    },
    "execution": execution.record(config, listing.net(config), devices),
    "deviations": [*config.deviations(), *mesh.deviations(config, devices)],
    "versions": {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
    "commit": _commit(),
    "command": f"{experiment_cli.program_name()} {shlex.join(sys.argv[1:])}",
  }


def _commit() -> str | None:
  """Returns the commit of this code, with "+changes" appended if files differ from it.

  Outside a Git checkout it is the value of the environment variable RESJAX_COMMIT, or None.
  """
  here = Path(__file__).parent
  try:
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes", "--match="]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return os.environ.get("RESJAX_COMMIT")
