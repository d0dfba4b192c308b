"""Runs an experiment on Kubernetes, one JobSet a run, on TPU or GPU node pools of GKE.

    python -m launch.k8s --config FILE[:VARIANT] [--only EXPR] --image IMAGE --topology v5e:2x4 --volume gs://BUCKET
    python -m launch.k8s ... --topology gpu:h100x8 --volume claim:NAME [--spot] [--dry_run]

The manifests go to `kubectl apply`, to the cluster and namespace it is set to. The volume is mounted at /mnt/resjax,
the work directory is below it. A run that was stopped (exit code 75), or whose node was taken away, starts again.
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

_IMAGE = flags.DEFINE_string("image", "", "Container with the checkout as its working directory, and the extra tpu.")
_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x4", "Of each run, as in resjax.plan: v5e:2x4 ... or gpu:h100x8.")
_VOLUME = flags.DEFINE_string("volume", "", "For run directories: gs://BUCKET, or claim:NAME, writable from all nodes.")
_PYTHON = flags.DEFINE_string("python", "python", "Python of the container.")
_GRACE = flags.DEFINE_integer("grace", 120, "Seconds between the signal to save and the end of a pod.", 1)
_SPOT = flags.DEFINE_bool("spot", False, "On nodes that are cheaper, and may be taken at any time.")
flags.adopt_module_key_flags(jobs)


def main() -> int:
  """Applies what the command line names; returns the exit code."""
  every = jobs.chosen()
  if jobs.STATUS.value:
    print(jobs.table(every))
    return experiment_cli.DONE
  if not _IMAGE.value:
    raise ConfigError("--image is missing")
  slice_, volume = chips.parse(_TOPOLOGY.value), _volume(_VOLUME.value)
  made = [_manifest(job, slice_, volume) for job in jobs.unfinished(every)]
  import yaml  # not before it is needed: --help and --status do without

  text = yaml.safe_dump_all(made, sort_keys=False)
  if jobs.DRY_RUN.value:
    print(text, end="")
    return experiment_cli.DONE
  if not shutil.which("kubectl"):
    raise ConfigError("kubectl is not on this machine: --dry_run prints what it would be given")
  sent = subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True, check=False)
  print(f"to see them: kubectl get jobsets -l resjax={_label(every[0])}; to stop: kubectl delete with the same")
  return experiment_cli.DONE if sent.returncode == 0 else experiment_cli.FAILED


def _manifest(job: Job, slice_: chips.Slice, volume: manifests.Volume) -> dict[str, Any]:
  there = dataclasses.replace(job, workdir=posixpath.join(manifests.MOUNT, job.workdir))
  name = f"resjax-{_label(job)}-{job.index}"
  line = there.command(_PYTHON.value)
  return manifests.jobset(name, _label(job), line, _IMAGE.value, slice_, volume, _GRACE.value, _SPOT.value)


def _label(job: Job) -> str:
  """Returns the experiment's folder in the letters that names may have; short, for names of pods grow from it."""
  return re.sub("[^a-z0-9]+", "-", job.run.folder.lower())[:35].strip("-")


def _volume(text: str) -> manifests.Volume:
  if match := re.fullmatch(r"gs://([^/]+)|claim:([a-z0-9.-]+)", text):
    return manifests.Volume(match[1] or "", match[2] or "")
  raise ConfigError(f"--volume {text!r}: must be gs://BUCKET or claim:NAME")


if __name__ == "__main__":
  jobs.start(main)
