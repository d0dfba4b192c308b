"""Manifests for Kubernetes: their schema, the pods of a slice, and the consequences of exit codes.

The job in a JobSet is validated by the typed models of the package `kubernetes`. No package contains the schema of
JobSet, so `JOBSET` defines the part of v1alpha2 that is used, without additional properties.
"""

import pytest
import yaml

from launch import manifests
from resjax.planning import chips
from resjax.settings import ConfigError
from tests.in_process_commands import run_command

client = pytest.importorskip("kubernetes.client", reason="the package kubernetes is not installed")
jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")
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
    name={"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$"}, labels=WORDS, annotations=WORDS
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
def test_manifests_are_valid(monkeypatch, capsys, tmp_path, arguments):
  found = manifests_of(monkeypatch, capsys, *arguments, f"--workdir={tmp_path}")
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


def test_a_stopped_run_is_restarted_and_a_failed_one_is_not(monkeypatch, capsys, tmp_path):
  """Exit code 75 and lost nodes fail the job by PodFailurePolicy, which restarts it; other failures do not."""
  spec = manifests_of(monkeypatch, capsys, f"--workdir={tmp_path}")[0]["spec"]
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


@pytest.mark.parametrize(
  ("changed", "says"),
  [
    (["--image="], "--image is missing"),
    (["--volume=runs"], "--volume 'runs': must be gs://BUCKET or claim:NAME"),
    (["--topology=v5e"], "--topology v5e: slices of v5e are"),
  ],
)
def test_invalid_flags_are_errors(monkeypatch, changed, says):
  with pytest.raises(ConfigError) as raised:
    run_command(monkeypatch, "launch.k8s", [*REQUIRED_FLAGS, *changed])
  assert says in str(raised.value)
