"""Starts the runs of an experiment on Kubernetes, one JobSet per run, on TPU or GPU node pools of GKE.

    python -m launch.k8s --config FILE[:VARIANT] [--only EXPR] --image IMAGE --topology v5e:2x4 --volume gs://BUCKET
    python -m launch.k8s ... --topology gpu:h100x8 --volume claim:NAME [--spot] [--dry_run]

The manifests are passed to `kubectl apply`, which uses its current cluster and namespace. The volume is mounted at
/mnt/resjax, and the work directory is below it. A run that was stopped (exit code 75), or whose node was preempted, is
restarted.
"""

import dataclasses
import posixpath
import re
import shutil
import subprocess
from typing import Any

from absl import flags

from launch import jobs, manifests
from launch.jobs import Job
from resjax import experiment_cli
from resjax.planning import chips
from resjax.settings import ConfigError

_IMAGE = flags.DEFINE_string("image", "", "Container image with the checkout as working directory and the extra tpu.")
_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x4", "Slice of each run: v5e:2x4 ... or gpu:h100x8.")
_VOLUME = flags.DEFINE_string("volume", "", "Volume of the run directories: gs://BUCKET or claim:NAME.")
_PYTHON = flags.DEFINE_string("python", "python", "Python interpreter in the container.")
_GRACE = flags.DEFINE_integer("grace", 120, "Seconds between SIGTERM and SIGKILL of a pod.", 1)
_SPOT = flags.DEFINE_bool("spot", False, "Use spot nodes, which are cheaper and may be preempted at any time.")
flags.adopt_module_key_flags(jobs)


def main() -> int:
  """Starts the runs that the command line selects; returns the exit code."""
  every = jobs.selected_jobs()
  if jobs.STATUS.value:
    print(jobs.table(every))
    return experiment_cli.DONE
  if not _IMAGE.value:
    raise ConfigError("--image is missing")
  environment = manifests.Environment(
    _IMAGE.value, chips.parse(_TOPOLOGY.value), _volume(_VOLUME.value), _GRACE.value, _SPOT.value
  )
  job_sets = [_manifest(job, environment) for job in jobs.unfinished(every)]
  import yaml  # imported here, because --help and --status do not need it

  text = yaml.safe_dump_all(job_sets, sort_keys=False)
  if jobs.DRY_RUN.value:
    print(text, end="")
    return experiment_cli.DONE
  if not shutil.which("kubectl"):
    raise ConfigError("kubectl is not installed; --dry_run prints the manifests")
  applied = subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True, check=False)
  selector = f"jobsets -l resjax={_label(every[0])}"
  print(f"to list them: kubectl get {selector}; to stop them: kubectl delete {selector}")
  return experiment_cli.DONE if applied.returncode == 0 else experiment_cli.FAILED


def _manifest(job: Job, environment: manifests.Environment) -> dict[str, Any]:
  mounted = dataclasses.replace(job, workdir=posixpath.join(manifests.MOUNT, job.workdir))
  name = f"resjax-{_label(job)}-{job.index}"
  return manifests.jobset(name, _label(job), mounted.command(_PYTHON.value), environment)


def _label(job: Job) -> str:
  """Returns the experiment's folder as a short label of characters that Kubernetes allows in names of pods."""
  return re.sub("[^a-z0-9]+", "-", job.run.folder.lower())[:35].strip("-")


def _volume(text: str) -> manifests.Volume:
  if match := re.fullmatch(r"gs://([^/]+)|claim:([a-z0-9.-]+)", text):
    return manifests.Volume(match[1] or "", match[2] or "")
  raise ConfigError(f"--volume {text!r}: must be gs://BUCKET or claim:NAME")


if __name__ == "__main__":
  jobs.start(main)
