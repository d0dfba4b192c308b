"""JobSet manifests for GKE: one per run, on a TPU slice or a GPU node, restarted when the run exits with code 75."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from resjax import experiment_cli
from resjax.planning.chips import Slice

ACCELERATORS = {
  **{"v5e": "tpu-v5-lite-podslice", "v6e": "tpu-v6e-slice", "v5p": "tpu-v5p-slice"},
  **{"a100": "nvidia-a100-80gb", "h100": "nvidia-h100-80gb", "h200": "nvidia-h200-141gb"},
}
MOUNT = "/mnt/resjax"  # path of the volume in a pod
CHIPS_A_NODE = 4  # chips per node of a slice with several nodes; v5e and v6e are also available as one node of eight


class Pods(NamedTuple):
  """Pods of a run.

  Attributes:
    number: Number of pods.
    resource: Kubernetes resource of the accelerators.
    chips: Number of accelerators per pod.
    nodes: Node selector.
  """

  number: int
  resource: str
  chips: int
  nodes: dict[str, str]


class Volume(NamedTuple):
  """Volume of the run directories.

  Attributes:
    bucket: Name of a bucket, or "".
    claim: Name of a persistent volume claim that all nodes can write to, or "".
  """

  bucket: str
  claim: str


class Environment(NamedTuple):
  """Environment that a run is executed in.

  Attributes:
    image: Container image with the project installed.
    slice_: Slice of chips.
    volume: Volume of the run directories.
    grace: Seconds between SIGTERM and SIGKILL.
    spot: Whether the nodes may be preempted at any time.
  """

  image: str
  slice_: Slice
  volume: Volume
  grace: int
  spot: bool


def pods(slice_: Slice) -> Pods:
  """Returns the pods of a slice on GKE."""
  kind, _, shape = slice_.name.partition(":")
  if kind == "gpu":
    accelerator = ACCELERATORS[shape.rpartition("x")[0]]
    return Pods(1, "nvidia.com/gpu", slice_.count, {"cloud.google.com/gke-accelerator": accelerator})
  whole = slice_.count if shape == "2x4" else min(slice_.count, CHIPS_A_NODE)
  nodes = {"cloud.google.com/gke-tpu-accelerator": ACCELERATORS[kind], "cloud.google.com/gke-tpu-topology": shape}
  return Pods(slice_.count // whole, "google.com/tpu", whole, nodes)


def jobset(name: str, folder: str, command: Sequence[str], environment: Environment) -> dict[str, Any]:
  """Returns the manifest of a run.

  Single pods are not restarted. If a pod exits with code 75 or its node is preempted, its job fails by the
  podFailurePolicy, and the whole JobSet is restarted, without a limit on the number of restarts. If a pod ends in any
  other way, the JobSet ends.

  Args:
    name: Name of the JobSet.
    folder: Folder of the experiment, which labels all of its JobSets.
    command: Command of the container.
    environment: Environment of the run.
  """
  image, slice_, volume, grace, spot = environment
  wanted = pods(slice_)
  selector = wanted.nodes | ({"cloud.google.com/gke-spot": "true"} if spot else {})
  annotations = {"gke-gcsfuse/volumes": "true"} if volume.bucket else {}
  pod = {
    "metadata": {"labels": {"resjax": folder}, "annotations": annotations},
    "spec": {
      "restartPolicy": "Never",
      "terminationGracePeriodSeconds": grace,
      "nodeSelector": selector,
      "tolerations": [
        {"key": wanted.resource, "operator": "Exists", "effect": "NoSchedule"},
        *([{"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true"}] if spot else []),
      ],
      "containers": [
        {
          "name": "run",
          "image": image,
          "command": list(command),
          "env": [{"name": "JAX_COMPILATION_CACHE_DIR", "value": "/tmp/compiled"}],
          "ports": [{"containerPort": 8471}, {"containerPort": 8476}],
          "resources": {"limits": {wanted.resource: str(wanted.chips)}},
          "volumeMounts": [{"name": "runs", "mountPath": MOUNT}, {"name": "shared-memory", "mountPath": "/dev/shm"}],
        }
      ],
      "volumes": [
        {"name": "runs", **_volume(volume)},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
      ],
      **({"serviceAccountName": "resjax"} if volume.bucket else {}),
    },
  }
  stopped = {
    "rules": [
      {
        "action": "FailJob",
        "onExitCodes": {"containerName": "run", "operator": "In", "values": [experiment_cli.PREEMPTED]},
      },
      {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
  }
  return {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {
      "name": name,
      "labels": {"resjax": folder},
      "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
    },
    "spec": {
      "failurePolicy": {
        "maxRestarts": 0,
        "rules": [
          {
            "name": "stopped",
            "action": "RestartJobSetAndIgnoreMaxRestarts",
            "onJobFailureReasons": ["PodFailurePolicy"],
          },
          {"name": "failed", "action": "FailJobSet", "onJobFailureReasons": ["BackoffLimitExceeded"]},
        ],
      },
      "network": {"enableDNSHostnames": True},
      "replicatedJobs": [
        {
          "name": "run",
          "replicas": 1,
          "template": {
            "spec": {
              "completionMode": "Indexed",
              "completions": wanted.number,
              "parallelism": wanted.number,
              "backoffLimit": 0,
              "podFailurePolicy": stopped,
              "template": pod,
            }
          },
        }
      ],
    },
  }


def _volume(volume: Volume) -> dict[str, Any]:
  if volume.claim:
    return {"persistentVolumeClaim": {"claimName": volume.claim}}
  attributes = {"bucketName": volume.bucket, "mountOptions": "implicit-dirs"}
  return {"csi": {"driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes": attributes}}
