"""Manifests for Kubernetes: their schema, the pods of a slice, and the consequences of exit codes.

The job in a JobSet is validated by the typed models of the package `kubernetes`. No package contains the schema of
JobSet, so `JOBSET` defines the part of v1alpha2 that is used, without additional properties.
"""

import re

import pytest
import yaml

from launch import manifests
from resjax.planning import chips
from resjax.records import RunWriter
from resjax.settings import ConfigError
from tests.in_process_commands import run_command

client = pytest.importorskip("kubernetes.client", reason="the package kubernetes is not installed")
jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")
EXPERIMENT = """
from resjax import config
from resjax.sweep import axis

def get_config(variant=""):
  return config.digits()

def sweep(variant=""):
  return axis("seed", (0, 1))
"""
REQUIRED_FLAGS = ["--config=quickstart", "--image=i", "--volume=gs://b"]


def object_with(**properties):
  """Returns the schema of an object that has exactly these properties."""
  return {"type": "object", "properties": properties, "additionalProperties": False, "required": list(properties)}


TEXT, WORDS = {"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}
ACTIONS = ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")
JOBSET = object_with(
  apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
  kind={"const": "JobSet"},
  metadata=object_with(
    # A pod's name is the JobSet's with up to 17 characters appended, and has at most 63.
    name={"type": "string", "pattern": "^[a-z]([a-z0-9-]{0,44}[a-z0-9])?$"},
    labels={
      "type": "object",
      "additionalProperties": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
    },
    annotations=WORDS,
  ),
  spec=object_with(
    failurePolicy=object_with(
      maxRestarts={"type": "integer"},
      rules={
        "type": "array",
        "items": object_with(
          name={"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
          action={"enum": list(ACTIONS)},
          onJobFailureReasons={"type": "array", "items": {"enum": ["PodFailurePolicy", "BackoffLimitExceeded"]}},
        ),
      },
    ),
    network=object_with(enableDNSHostnames={"type": "boolean"}),
    replicatedJobs={
      "type": "array",
      "items": object_with(name=TEXT, replicas={"type": "integer"}, template=object_with(spec={"type": "object"})),
    },
  ),
)


def manifests_of(monkeypatch, capsys, *arguments: str) -> list[dict]:
  """Returns the manifests that the launcher prints with --dry_run."""
  assert run_command(monkeypatch, "launch.k8s", [*REQUIRED_FLAGS, *arguments, "--dry_run"]) == 0
  return list(yaml.safe_load_all(capsys.readouterr().out))


@pytest.mark.parametrize("arguments", [["--topology=v5e:4x4", "--spot"], ["--topology=gpu:h100x8", "--volume=claim:c"]])
def test_manifests_are_valid(monkeypatch, capsys, arguments):
  found = manifests_of(monkeypatch, capsys, *arguments)
  assert len(found) == 6
  assert len({each["metadata"]["name"] for each in found}) == 6
  for each in found:
    jsonschema.validate(each, JOBSET)
    spec = each["spec"]["replicatedJobs"][0]["template"]["spec"]
    typed = client.V1JobSpec.model_validate(spec)  # raises where something is missing or of another type
    assert typed.model_dump(by_alias=True, exclude_none=True) == spec  # unknown properties would be lost


@pytest.mark.parametrize(
  ("topology", "expected"),
  [
    ("v5e:2x4", (1, "google.com/tpu", 8, "tpu-v5-lite-podslice")),
    ("v6e:4x4", (4, "google.com/tpu", 4, "tpu-v6e-slice")),
    ("v5p:2x2x1", (1, "google.com/tpu", 4, "tpu-v5p-slice")),
    ("v5p:4x4x4", (16, "google.com/tpu", 4, "tpu-v5p-slice")),
    ("gpu:h200x4", (1, "nvidia.com/gpu", 4, "nvidia-h200-141gb")),
  ],
)
def test_pods_match_the_hosts_of_a_slice(topology, expected):
  pods = manifests.pods(chips.parse(topology))
  assert (*pods[:3], next(iter(pods.nodes.values()))) == expected


def test_a_stopped_run_is_restarted_and_a_failed_one_is_not(monkeypatch, capsys):
  """Exit code 75 and lost nodes fail the job by PodFailurePolicy, which restarts it; other failures do not."""
  spec = manifests_of(monkeypatch, capsys)[0]["spec"]
  job = spec["replicatedJobs"][0]["template"]["spec"]
  first, second = job["podFailurePolicy"]["rules"]
  assert (first["action"], first["onExitCodes"]["values"]) == ("FailJob", [75])
  assert (second["action"], second["onPodConditions"][0]["type"]) == ("FailJob", "DisruptionTarget")
  assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")
  rules = {reason: rule["action"] for rule in spec["failurePolicy"]["rules"] for reason in rule["onJobFailureReasons"]}
  assert rules == {"PodFailurePolicy": ACTIONS[2], "BackoffLimitExceeded": ACTIONS[0]}


def test_each_manifest_executes_one_index(monkeypatch, capsys):
  found = manifests_of(monkeypatch, capsys, "--only=depth=8", "--config.train.steps=7", "--workdir=w")
  containers = [
    each["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"] for each in found
  ]
  assert [container["command"] for (container,) in containers] == [
    [
      *("python", "-m", "resjax.main", "--config=quickstart", "--config.train.steps=7", "--only=depth=8"),
      *("--workdir=/mnt/resjax/w", f"--index={index}"),
    ]
    for index in (0, 1)
  ]


def names(manifests: list[dict]) -> list[str]:
  """Returns the names of JobSets."""
  return [each["metadata"]["name"] for each in manifests]


def test_a_name_belongs_to_one_run_directory(monkeypatch, capsys):
  """`kubectl apply` would change a JobSet of the same name, also one that another command has created."""
  every = names(manifests_of(monkeypatch, capsys))
  assert names(manifests_of(monkeypatch, capsys, "--only=depth=20")) == every[2:4]
  assert names(manifests_of(monkeypatch, capsys, "--index=3", "--workdir=./runs/")) == [every[3]]
  assert re.fullmatch("resjax-plain-d20-s0-quickstart-runs-g-[0-9a-f]{8}", every[3])
  for other in ("--workdir=runs2", "--volume=gs://other", "--volume=claim:b"):
    assert not {*names(manifests_of(monkeypatch, capsys, other))} & {*every}


def test_names_of_long_experiments_differ(monkeypatch, capsys, tmp_path):
  """The names of the experiments differ only in their last characters, which do not fit into a name or a label."""
  (tmp_path / "experiments").mkdir()
  monkeypatch.chdir(tmp_path)
  found = []
  for name in ("a" * 70 + "_b", "a" * 70 + "_c"):
    (tmp_path / "experiments" / f"{name}.py").write_text(EXPERIMENT)
    found += manifests_of(monkeypatch, capsys, f"--config={name}")
  for each in found:
    jsonschema.validate(each, JOBSET)
  assert len({*names(found)}) == 4
  assert len({each["metadata"]["labels"]["resjax"] for each in found}) == 2


def test_finished_runs_are_left_to_the_cluster(monkeypatch, capsys, tmp_path):
  """The records on this machine may be of other runs than those on the volume."""
  with RunWriter(tmp_path / "runs" / "quickstart" / "plain-d8-s0") as writer:
    writer.update(id="plain-d8-s0", status="done")
  monkeypatch.chdir(tmp_path)
  assert len(manifests_of(monkeypatch, capsys, "--only=depth=8")) == 2


def test_the_status_names_the_directory_that_it_is_read_from(monkeypatch, capsys, tmp_path):
  with RunWriter(tmp_path / "quickstart" / "plain-d8-s0") as writer:
    writer.update(id="plain-d8-s0", status="done")
  arguments = ["--config=quickstart", "--only=depth=8", f"--workdir={tmp_path}", "--status"]
  assert run_command(monkeypatch, "launch.k8s", arguments) == 0
  first, _, not_started, done = capsys.readouterr().out.splitlines()
  assert first == f"Records in {tmp_path}:"
  assert not_started.split()[1:4] == ["residual-A-d8-s0", "not", "started"]
  assert done.split()[1:3] == ["plain-d8-s0", "done"]


@pytest.mark.parametrize(
  ("changed", "says"),
  [
    (["--image="], "--image is missing"),
    (["--volume=runs"], "--volume 'runs': must be gs://BUCKET or claim:NAME"),
    (["--topology=v5e"], "--topology v5e: slices of v5e are"),
    (["--workdir=/data/runs"], "--workdir '/data/runs': must be a relative path that stays below /mnt/resjax"),
    (["--workdir=a/../../b"], "--workdir 'a/../../b': must be a relative path that stays below /mnt/resjax"),
    (["--workdir=absent", "--status"], "--workdir 'absent': --status reads this directory on this machine, and"),
  ],
)
def test_invalid_flags_are_errors(monkeypatch, changed, says):
  with pytest.raises(ConfigError) as raised:
    run_command(monkeypatch, "launch.k8s", [*REQUIRED_FLAGS, *changed])
  assert says in str(raised.value)
