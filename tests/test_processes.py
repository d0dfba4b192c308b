"""One run on two processes of this machine: the losses of a single process, and a common stop."""

import http.server
import importlib.util
import os
import signal
import threading
import time

import pytest

from resjax import host, processes, records
from resjax.settings import ConfigError
from tests import short_run
from tests.faults.runs import Runs, reproducible_records
from tests.synthetic_images import write_train_and_val


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  return Runs(tmp_path_factory.mktemp("compiled") / "store")


def test_two_processes_train_as_one_and_stop_at_the_same_step(runs, tmp_path):
  """After SIGTERM to the second process both exit with 75, and the same commands continue the run."""
  code, err = runs.run_to_completion(tmp_path / "one")
  assert code == 0, err
  both = runs.start_pair(tmp_path / "two")
  while not list(tmp_path.glob("two/*/*/metrics.jsonl")):
    assert both[0].poll() is None, short_run.finish(both[0])
    time.sleep(0.02)
  both[1].send_signal(signal.SIGTERM)
  assert [short_run.finish(process)[0] for process in both] == [75, 75]
  (stopped,) = [records.read_run(directory).run for directory in records.find_runs(tmp_path / "two")]
  assert stopped["status"] == "preempted"
  assert stopped["step"] % 5 == 0
  assert stopped["devices"] == {"platform": "cpu", "kind": "cpu", "count": 2, "processes": 2}
  assert [short_run.finish(process)[0] for process in runs.start_pair(tmp_path / "two")] == [0, 0]
  (two,), (one,) = (reproducible_records(tmp_path / name).values() for name in ("two", "one"))
  for line, expected in zip(two["metrics"][:2], one["metrics"][:2], strict=True):  # ten steps: the contract's bound
    assert line["loss"] == pytest.approx(expected["loss"], rel=1e-3)
  assert [line["step"] for line in two["metrics"]] == [line["step"] for line in one["metrics"]]
  assert len(two["responses"]) == len(one["responses"])


def test_two_processes_evaluate_streamed_images_as_one(tmp_path):
  """The last minibatch gives the hosts different numbers of images; the mesh has 2 of the 3 devices of each."""
  changes = {
    **{"data__name": "folder", "data__path": str(write_train_and_val(tmp_path / "images", train=8, val=5))},
    **{"data__image_size": "16", "data__resize": "(18,24)", "data__validation_images": "0", "data__pad": "0"},
    **{"train__batch_size": "8", "train__steps": "4", "train__warmup": "off", "train__learning_rate": "0.001"},
    **{"evaluation__batch_size": "4", "evaluation__every": "2", "execution__log_every": "2", "execution__workers": "0"},
    **{"responses__images": "4", "responses__batch_size": "4", "responses__steps": "()", "checkpoint__every": "0"},
    **{"gradients__steps": "()"},
  }
  runs = Runs(tmp_path / "store", devices_of_pair=3)
  code, err = runs.run_to_completion(tmp_path / "one", **changes)
  assert code == 0, err
  for process in runs.start_pair(tmp_path / "two", **changes):
    code, _, err = short_run.finish(process)
    assert code == 0, err
  two, one = (
    [line for line in records.read_run(short_run.run_directory(tmp_path / name)).metrics if line["split"] == "test"]
    for name in ("two", "one")
  )
  assert [line["images"] for line in two] == [line["images"] for line in one] == [10, 10]
  for line, expected in zip(two, one, strict=True):
    assert line["error"] == expected["error"]
    assert line["loss"] == pytest.approx(expected["loss"], rel=1e-3)


@pytest.mark.parametrize(
  ("environment", "ordinals"),
  [
    pytest.param({"SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}, [0, 1, 2, 3], id="one task a node"),
    pytest.param({"SLURM_LOCALID": "3", "SLURM_STEP_TASKS_PER_NODE": "4"}, [3], id="a shared GPU each"),
    pytest.param(
      {"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2),2", "SLURM_NODEID": "2"}, [2, 3], id="nodes"
    ),
    pytest.param(
      {"SLURM_LOCALID": "3", "SLURM_STEP_TASKS_PER_NODE": "4", "CUDA_VISIBLE_DEVICES": "0"}, [0], id="a bound GPU each"
    ),
    pytest.param(
      {"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_GPUS_PER_TASK": "h100:4"},
      [0, 1, 2, 3],
      id="four bound GPUs each",
    ),
    pytest.param(
      {"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_GPUS_PER_TASK": "2"}, [2, 3], id="two shared each"
    ),
    pytest.param(
      {"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_GPUS_ON_NODE": "8"}, [0, 1, 2, 3], id="hidden"
    ),
    pytest.param({"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, [2, 3], id="Open MPI"),
    pytest.param(
      {"SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, None, id="no GPU"
    ),
    pytest.param({}, None, id="no batch system"),
    pytest.param(
      {"SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1", "JAX_LOCAL_DEVICE_IDS": "2"},
      None,
      id="chosen by the user",
    ),
  ],
)
def test_a_process_uses_its_share_of_the_gpus_of_its_host(monkeypatch, environment, ordinals):
  for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_"))]:
    monkeypatch.delenv(name)
  monkeypatch.delenv("JAX_LOCAL_DEVICE_IDS", raising=False)
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  assert host.gpu_ordinals() == ordinals


@pytest.mark.parametrize(
  ("endpoints", "distributed"),
  [
    pytest.param("host-0,host-1", True, id="names"),
    pytest.param("a:1:10.0.0.1,b:2:10.0.0.2", True, id="names, numbers and addresses"),
    pytest.param("host-0", False, id="one host"),
    pytest.param(None, False, id="not a TPU machine"),
  ],
)
def test_the_hosts_of_a_tpu_slice_are_read_from_the_metadata_server(monkeypatch, endpoints, distributed):
  class Metadata(http.server.BaseHTTPRequestHandler):
    """Answers as Compute Engine's metadata server."""

    def do_GET(self) -> None:
      known = self.path == "/computeMetadata/v1/instance/attributes/worker-network-endpoints" and endpoints
      known = known and self.headers["Metadata-Flavor"] == "Google"
      self.send_response(200 if known else 404)
      self.end_headers()
      self.wfile.write((endpoints or "").encode())

    def log_message(self, *_: object) -> None:
      pass

  monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)  # JAX sets it on machines without TPU
  with http.server.HTTPServer(("localhost", 0), Metadata) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GCE_METADATA_IP", f"localhost:{server.server_port}")
    installed = {"libtpu": None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed.get(name))
    assert not processes._is_distributed()  # without libtpu the server is not asked
    installed["libtpu"] = importlib.machinery.ModuleSpec("libtpu", None)
    assert processes._is_distributed() == distributed
    server.shutdown()


@pytest.mark.parametrize(
  ("count", "number", "says"),
  [
    (
      "",
      "0",
      "JAX_NUM_PROCESSES = '': must be a number; set it, or unset JAX_COORDINATOR_ADDRESS",
    ),
    (
      "2",
      "x",
      "JAX_PROCESS_ID = 'x': must be a number; set it, or unset JAX_COORDINATOR_ADDRESS",
    ),
    ("2", "2", "JAX_PROCESS_ID = 2: must be less than JAX_NUM_PROCESSES = 2"),
  ],
)
def test_invalid_environment_variables_are_named(monkeypatch, count, number, says):
  for name, value in ((processes.ADDRESS, "localhost:1"), (processes.COUNT, count), (processes.NUMBER, number)):
    monkeypatch.setenv(name, value)
  with pytest.raises(ConfigError) as caught:
    processes.start()
  assert str(caught.value) == says
