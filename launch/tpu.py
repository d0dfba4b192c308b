"""Starts the runs of an experiment on Cloud TPU slices, requested as queued resources and deleted afterwards.

    python -m launch.tpu --config FILE[:VARIANT] [--only EXPR] --topology v5e:2x4 --project P --zone Z
        --workdir gs://BUCKET/FOLDER --source gs://BUCKET/resjax.tar.gz [--slices 4] [--spot] [--collect runs]
    python -m launch.tpu --config FILE --project P --zone Z --delete      deletes remaining slices
    python -m launch.tpu --config FILE --collect runs --status

Each slice executes its share of the runs, one after another, on all of its workers. Preempted spot slices are requested
again and continue from the latest checkpoints. On SIGTERM, SIGINT or SIGHUP the launcher deletes the slices and exits
with code 75; the same command continues. Records are copied from the bucket to --collect while runs are in progress.
An experiment has one launcher at a time in a zone.
"""

import contextlib
import dataclasses
import datetime
import re
import shlex
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

from absl import flags

from launch import jobs, startup
from launch.bucket import Bucket
from launch.jobs import Job
from resjax import experiment_cli, files
from resjax.planning import chips
from resjax.settings import ConfigError

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x4", "Topology of each slice, as in resjax.plan.")
_PROJECT = flags.DEFINE_string("project", "", "Google Cloud project.")
_ZONE = flags.DEFINE_string("zone", "", "Zone, such as us-west4-a.")
_SOURCE = flags.DEFINE_string("source", "", "gs:// path of the code: git archive --format=tar.gz HEAD.")
_SLICES = flags.DEFINE_integer("slices", 1, "Number of slices; each executes a share of the runs.", 1)
_SPOT = flags.DEFINE_bool("spot", False, "Use spot slices, which are cheaper and may be preempted at any time.")
_HOURS = flags.DEFINE_float("hours", 24.0, "Hours that a request may wait for its slice.", 0.1)
_RUNTIME = flags.DEFINE_string("runtime", "", "Runtime version; empty: the chip's default.")
_SERVICE_ACCOUNT = flags.DEFINE_string("service_account", "", "Account of the workers; empty: the project's default.")
_COLLECT = flags.DEFINE_string("collect", "runs", "Local work directory into which records are copied.")
_POLL = flags.DEFINE_float("poll", 30.0, "Seconds between queries of the slices' state.", 0.01)
_DELETE = flags.DEFINE_bool("delete", False, "Delete all slices of this experiment without starting runs.")
flags.adopt_module_key_flags(jobs)

RUNTIMES = {"v5e": "v2-alpha-tpuv5-lite", "v5p": "v2-alpha-tpuv5", "v6e": "v2-alpha-tpuv6e"}
TYPES = {"v5e": "V5LITE_POD", "v5p": "V5P", "v6e": "V6E"}


def main() -> int:
  """Executes the runs that the command line selects; returns the exit code."""
  collected = files.local_path(_COLLECT.value)
  every = [dataclasses.replace(job, workdir=_COLLECT.value) for job in jobs.selected_jobs(bucket=True)]
  if jobs.STATUS.value:
    return jobs.print_copied_status(every, _COLLECT.name)
  for flag in (_PROJECT, _ZONE):
    if not flag.value:
      raise ConfigError(f"--{flag.name} is missing")
  from google.api_core.exceptions import GoogleAPIError

  try:
    return _delete(every) if _DELETE.value else _launch(every, collected)
  except GoogleAPIError as error:
    raise ConfigError(f"Cloud TPU API: {error}") from error


def _delete(every: list[Job]) -> int:
  """Deletes all slices of the experiment; returns the exit code."""
  from launch import queued_resources

  if jobs.DRY_RUN.value:
    for name in queued_resources.find(client(), _parent(), _prefix(every[0])):
      print(f"{name}: would be deleted")
    return experiment_cli.DONE
  complete = queued_resources.delete_all(client(), _parent(), _prefix(every[0]), print)
  return experiment_cli.DONE if complete else experiment_cli.FAILED


def _launch(every: list[Job], collected: Path) -> int:
  """Executes the unfinished runs on slices; returns the exit code.

  Args:
    every: All runs that the command line selects.
    collected: Local work directory into which records are copied.
  """
  from google.cloud import tpu_v2

  from launch import queued_resources

  for flag in (jobs.WORKDIR, _SOURCE):
    if not re.match(r"gs://[^/]+/.+", flag.value):
      raise ConfigError(f"--{flag.name} {flag.value!r}: must be gs://BUCKET/...")
  bucket = None if jobs.DRY_RUN.value else Bucket(_workdir())
  if bucket:
    bucket.collect(every, collected)
  if not (wanted := jobs.unfinished(every)):
    print("all runs are done")
    return experiment_cli.DONE
  prefix, launch = _prefix(every[0]), uuid.uuid4().hex[:8]
  shares = [share for i in range(_SLICES.value) if (share := wanted[i :: _SLICES.value])]
  slices = [
    queued_resources.Slice(f"{prefix}{i}", _resource(share, f"{prefix}{i}-{launch}", tpu_v2))
    for i, share in enumerate(shares)
  ]
  if not bucket:
    for each in slices:
      print(_request_text(queued_resources.request(each, _parent())))
    return experiment_cli.DONE
  stop, api = _Stop(), client()
  if existing := queued_resources.find(api, _parent(), prefix):
    raise queued_resources.taken(existing[0], _to_delete())
  fleet = queued_resources.Fleet(api, _parent(), slices, _tell, _to_delete())
  code = fleet.run(
    lambda name: bucket.ended(f"{name}-{launch}"),
    lambda: bucket.collect(wanted, collected),
    lambda: stop.came,
    _POLL.value,
  )
  print(jobs.table(every))
  return code


def client() -> Any:
  """Returns a client of the Cloud TPU API with the default credentials.

  Raises:
    ConfigError: There are no credentials.
  """
  from google.auth.exceptions import DefaultCredentialsError
  from google.cloud import tpu_v2

  try:
    return tpu_v2.TpuClient()
  except DefaultCredentialsError as error:
    raise ConfigError("no credentials for Google Cloud: run gcloud auth application-default login") from error


def _request_text(request: Any) -> str:
  """Returns a request as text: its non-empty fields as JSON, followed by the startup script of the workers."""
  (spec,) = request.queued_resource.tpu.node_spec
  script = spec.node.metadata.pop("startup-script")
  fields = type(request).to_json(request, use_integers_for_enums=False, always_print_fields_with_no_presence=False)
  return f"{fields}\nmetadata startup-script:\n{script}"


def _tell(line: str) -> None:
  """Prints a line for the user, whose terminal may be closed while slices still have to be deleted."""
  with contextlib.suppress(OSError):
    print(line, file=sys.stderr, flush=True)


class _Stop:
  """Records whether SIGTERM, SIGINT or SIGHUP was received; under nohup, SIGHUP stays ignored."""

  def __init__(self) -> None:
    self.came = False
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
      if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, self._on_signal)

  def _on_signal(self, number: int, _: Any) -> None:
    self.came = True


def _prefix(job: Job) -> str:
  """Returns the prefix of the names of an experiment's slices."""
  return f"resjax-{jobs.label(job.run.folder, 40)}-"


def _parent() -> str:
  """Returns the location of the slices."""
  return f"projects/{_PROJECT.value}/locations/{_ZONE.value}"


def _to_delete() -> str:
  """Returns the command that deletes all slices of the experiment."""
  place = [f"--project={_PROJECT.value}", f"--zone={_ZONE.value}"]
  return shlex.join(["python", "-m", "launch.tpu", *experiment_cli.arguments_for_same_runs(), *place, "--delete"])


def _workdir() -> str:
  """Returns the normalized work directory: in names of objects, consecutive slashes are significant."""
  return files.BUCKET + "/".join(filter(None, jobs.WORKDIR.value.removeprefix(files.BUCKET).split("/")))


def _resource(share: list[Job], name: str, tpu_v2: Any) -> Any:
  """Returns the queued resource of a slice whose workers execute a share of the runs.

  Args:
    share: Runs of the slice.
    name: Name of the file with the exit code, see `startup.script`.
    tpu_v2: Client library of the Cloud TPU API.
  """
  kind, _, shape = chips.parse(_TOPOLOGY.value).name.partition(":")
  if kind not in TYPES:
    raise ConfigError(f"--topology {_TOPOLOGY.value}: must be a TPU slice")
  start = dataclasses.replace(share[0], workdir=_workdir()).command("/opt/resjax/.venv/bin/python")[:-1]
  script = startup.script(start, [job.index for job in share], _workdir(), _SOURCE.value, name)
  node = tpu_v2.Node(
    accelerator_config=tpu_v2.AcceleratorConfig(type_=tpu_v2.AcceleratorConfig.Type[TYPES[kind]], topology=shape),
    runtime_version=_RUNTIME.value or RUNTIMES[kind],
    network_config=tpu_v2.NetworkConfig(enable_external_ips=True),
    service_account=tpu_v2.ServiceAccount(
      email=_SERVICE_ACCOUNT.value, scope=["https://www.googleapis.com/auth/cloud-platform"]
    ),
    metadata={"startup-script": script},
    labels={"resjax": jobs.label(share[0].run.folder, 63)},
  )
  resource = tpu_v2.QueuedResource(
    tpu=tpu_v2.QueuedResource.Tpu(node_spec=[tpu_v2.QueuedResource.Tpu.NodeSpec(parent=_parent(), node=node)]),
    queueing_policy=tpu_v2.QueuedResource.QueueingPolicy(valid_until_duration=datetime.timedelta(hours=_HOURS.value)),
  )
  if _SPOT.value:
    resource.spot = tpu_v2.QueuedResource.Spot()
  return resource


if __name__ == "__main__":
  jobs.start(main)
