"""JobSet manifests for GKE: one a run, on a TPU slice or a GPU node, with what happens when a run ends with 75."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from resjax import experiment_cli
from resjax.planning.chips import Slice

ACCELERATORS = {
  **{"v5e": "tpu-v5-lite-podslice", "v6e": "tpu-v6e-slice", "v5p": "tpu-v5p-slice"},
  **{"a100": "nvidia-a100-80gb", "h100": "nvidia-h100-80gb", "h200": "nvidia-h200-141gb"},
}
MOUNT = "/mnt/resjax"  # where a pod sees the volume
CHIPS_A_NODE = 4  # of a slice of several nodes; v5e and v6e also come as one node of eight


class Pods(NamedTuple):
  """Where the processes of a run go: how many pods, the accelerators of each, and the nodes they want."""

  number: int
  resource: str
  chips: int
  nodes: dict[str, str]


class Volume(NamedTuple):
  """What is mounted: a bucket by name, or a claim of a volume that all nodes can write."""

  bucket: str
  claim: str


def pods(slice_: Slice) -> Pods:
  """Returns the pods that a slice consists of on GKE."""
  kind, _, shape = slice_.name.partition(":")
  if kind == "gpu":
    accelerator = ACCELERATORS[shape.rpartition("x")[0]]
    return Pods(1, "nvidia.com/gpu", slice_.count, {"cloud.google.com/gke-accelerator": accelerator})
  whole = slice_.count if shape == "2x4" else min(slice_.count, CHIPS_A_NODE)
  nodes = {"cloud.google.com/gke-tpu-accelerator": ACCELERATORS[kind], "cloud.google.com/gke-tpu-topology": shape}
  return Pods(slice_.count // whole, "google.com/tpu", whole, nodes)


def jobset(
  name: str, folder: str, line: Sequence[str], image: str, slice_: Slice, volume: Volume, grace: int, spot: bool
) -> dict[str, Any]:
  """Returns the manifest of a run.

  A pod is never restarted by itself: when one has ended with 75, or its node is taken away, its job fails by
  podFailurePolicy, and for that reason alone the whole JobSet is made anew, as often as it takes. Any other end of a
  pod is the end of the JobSet.

  Args:
    name: of the JobSet.
    folder: the experiment's, by which all of its JobSets can be found.
    line: the command.
    image: of the container, with the project installed.
    slice_: of chips.
    volume: where run directories are.
    grace: seconds from SIGTERM to SIGKILL.
    spot: on nodes that may be taken away at any time.
  """
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
          "command": list(line),
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
