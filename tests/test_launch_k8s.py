"""Manifests for Kubernetes: their form, the pods of a slice, and what an exit code leads to.

The job inside a JobSet is held against the typed models of the package `kubernetes`. Of JobSet itself no package has
the schema: `JOBSET` is the part of v1alpha2 that is used here, closed against anything else.
"""

import pytest
import yaml

from launch import manifests
from resjax.planning import chips
from resjax.settings import ConfigError
from tests.in_process_commands import called

client = pytest.importorskip("kubernetes.client", reason="the package kubernetes is not installed")
jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")
GIVEN = ["--config=quickstart", "--image=i", "--volume=gs://b"]


def closed(**properties):
  return {"type": "object", "properties": properties, "additionalProperties": False, "required": list(properties)}


TEXT, WORDS = {"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}
ACTIONS = ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")
JOBSET = closed(
  apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
  kind={"const": "JobSet"},
  metadata=closed(
    name={"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$"}, labels=WORDS, annotations=WORDS
  ),
  spec=closed(
    failurePolicy=closed(
      maxRestarts={"type": "integer"},
      rules={
        "type": "array",
        "items": closed(
          name={"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
          action={"enum": list(ACTIONS)},
          onJobFailureReasons={"type": "array", "items": {"enum": ["PodFailurePolicy", "BackoffLimitExceeded"]}},
        ),
      },
    ),
    network=closed(enableDNSHostnames={"type": "boolean"}),
    replicatedJobs={
      "type": "array",
      "items": closed(name=TEXT, replicas={"type": "integer"}, template=closed(spec={"type": "object"})),
    },
  ),
)


def made(monkeypatch, capsys, *arguments: str) -> list[dict]:
  assert called(monkeypatch, "launch.k8s", [*GIVEN, *arguments, "--dry_run"]) == 0
  return list(yaml.safe_load_all(capsys.readouterr().out))


@pytest.mark.parametrize("arguments", [["--topology=v5e:4x4", "--spot"], ["--topology=gpu:h100x8", "--volume=claim:c"]])
def test_manifests_have_the_form_of_the_schema(monkeypatch, capsys, tmp_path, arguments):
  found = made(monkeypatch, capsys, *arguments, f"--workdir={tmp_path}")
  assert len(found) == 6
  assert len({each["metadata"]["name"] for each in found}) == 6
  for each in found:
    jsonschema.validate(each, JOBSET)
    spec = each["spec"]["replicatedJobs"][0]["template"]["spec"]
    typed = client.V1JobSpec.model_validate(spec)  # raises where something is missing or of another type
    assert typed.model_dump(by_alias=True, exclude_none=True) == spec  # what the models do not know would be lost


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
def test_pods_of_a_slice(topology, expected):
  pods = manifests.pods(chips.parse(topology))
  assert (*pods[:3], next(iter(pods.nodes.values()))) == expected


def test_a_stopped_run_starts_again_and_a_failed_one_does_not(monkeypatch, capsys, tmp_path):
  """75 and lost nodes fail the job as PodFailurePolicy, which restarts; other ends use up its backoff of 0."""
  spec = made(monkeypatch, capsys, f"--workdir={tmp_path}")[0]["spec"]
  job = spec["replicatedJobs"][0]["template"]["spec"]
  first, second = job["podFailurePolicy"]["rules"]
  assert (first["action"], first["onExitCodes"]["values"]) == ("FailJob", [75])
  assert (second["action"], second["onPodConditions"][0]["type"]) == ("FailJob", "DisruptionTarget")
  assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")
  rules = {reason: rule["action"] for rule in spec["failurePolicy"]["rules"] for reason in rule["onJobFailureReasons"]}
  assert rules == {"PodFailurePolicy": ACTIONS[2], "BackoffLimitExceeded": ACTIONS[0]}


def test_a_pod_runs_the_run_of_its_index(monkeypatch, capsys):
  found = made(monkeypatch, capsys, "--only=depth=8", "--config.train.steps=7", "--workdir=w")
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
def test_what_is_wrong_is_one_line(monkeypatch, changed, says):
  with pytest.raises(ConfigError) as raised:
    called(monkeypatch, "launch.k8s", [*GIVEN, *changed])
  assert says in str(raised.value)
