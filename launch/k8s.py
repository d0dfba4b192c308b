"""Starts the runs of an experiment on Kubernetes, one JobSet per run, on TPU or GPU node pools of GKE.

    python -m launch.k8s --config FILE[:VARIANT] [--only EXPR] --image IMAGE --topology v5e:2x4 --volume gs://BUCKET
    python -m launch.k8s ... --topology gpu:h100x8 --volume claim:NAME [--spot] [--dry_run]

The manifests are passed to `kubectl apply`, which uses its current cluster and namespace. The volume is mounted at
/mnt/resjax, and --workdir is relative to it. A run that was stopped (exit code 75), or whose node was preempted, is
restarted; one that is finished ends at once. --status reads the records in --workdir on this machine.
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

# Largest length of a JobSet's name: names of its pods append "-run-0-INDEX-" and five characters, and may have 63.
NAME_LENGTH = 46


def main() -> int:
  """Starts the runs that the command line selects; returns the exit code."""
  every = jobs.selected_jobs()
  if jobs.STATUS.value:
    return jobs.print_copied_status(every, jobs.WORKDIR.name)
  if not _IMAGE.value:
    raise ConfigError("--image is missing")
  environment = manifests.Environment(
    _IMAGE.value, chips.parse(_TOPOLOGY.value), _volume(_VOLUME.value), _GRACE.value, _SPOT.value
  )
  workdir = _workdir(jobs.WORKDIR.value)
  # All of them: which runs are finished is recorded on the volume.
  job_sets = [_manifest(dataclasses.replace(job, workdir=workdir), environment) for job in every]
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
  """Returns the manifest of a run, named after its run directory, which only one JobSet may write."""
  below = posixpath.relpath(job.workdir, manifests.MOUNT)
  directory = f"{job.run.id}/{job.run.folder}/{below}/{_VOLUME.value}"  # the most distinctive part first
  name = f"resjax-{jobs.label(directory, NAME_LENGTH - len('resjax-'))}"
  return manifests.jobset(name, _label(job), job.command(_PYTHON.value), environment)


def _label(job: Job) -> str:
  """Returns the label of all JobSets of an experiment."""
  return jobs.label(job.run.folder, 63)


def _workdir(text: str) -> str:
  """Returns the work directory in a pod.

  Args:
    text: Work directory relative to the volume.

  Raises:
    ConfigError: The work directory is not below the mount of the volume.
  """
  path = posixpath.normpath(posixpath.join(manifests.MOUNT, text))
  if posixpath.commonpath([manifests.MOUNT, path]) != manifests.MOUNT:
    raise ConfigError(
      f"--workdir {text!r}: must be a relative path that stays below {manifests.MOUNT}, where the volume is mounted"
    )
  return path


def _volume(text: str) -> manifests.Volume:
  if match := re.fullmatch(r"gs://([^/]+)|claim:([a-z0-9.-]+)", text):
    return manifests.Volume(match[1] or "", match[2] or "")
  raise ConfigError(f"--volume {text!r}: must be gs://BUCKET or claim:NAME")


if __name__ == "__main__":
  jobs.start(main)
