"""One run over two processes of this machine: the same losses, and both stop at one step."""

import signal
import socket
import subprocess
import time

import pytest

from resjax import processes, records
from resjax.settings import ConfigError
from tests.faults.runs import Runs, finish, what_counts


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  return Runs(tmp_path_factory.mktemp("compiled") / "store")


def pair(runs: Runs, workdir) -> list[subprocess.Popen]:
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  return [runs.start(workdir, member=member, port=port) for member in (0, 1)]


def test_two_processes_train_as_one_and_stop_together(runs, tmp_path):
  """SIGTERM to the second one: both save at one step and end with 75; the same commands go on to the same end."""
  code, err = runs.to_the_end(tmp_path / "one")
  assert code == 0, err
  both = pair(runs, tmp_path / "two")
  while not list(tmp_path.glob("two/*/*/metrics.jsonl")):
    assert both[0].poll() is None, finish(both[0])
    time.sleep(0.02)
  both[1].send_signal(signal.SIGTERM)
  assert [finish(process)[0] for process in both] == [75, 75]
  (stopped,) = [records.read_run(directory).run for directory in records.find_runs(tmp_path / "two")]
  assert stopped["status"] == "preempted"
  assert stopped["step"] % 5 == 0
  assert stopped["devices"] == {"platform": "cpu", "kind": "cpu", "count": 2, "processes": 2}
  assert [finish(process)[0] for process in pair(runs, tmp_path / "two")] == [0, 0]
  (ours,), (alone,) = (what_counts(tmp_path / name).values() for name in ("two", "one"))
  for row, expected in zip(ours[3][:2], alone[3][:2], strict=True):  # ten steps: the contract's bound
    assert row["loss"] == pytest.approx(expected["loss"], rel=1e-3)
  assert [row["step"] for row in ours[3]] == [row["step"] for row in alone[3]]
  assert len(ours[4]) == len(alone[4])


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
def test_a_wrong_environment_is_said(monkeypatch, count, number, says):
  for name, value in ((processes.ADDRESS, "localhost:1"), (processes.COUNT, count), (processes.NUMBER, number)):
    monkeypatch.setenv(name, value)
  with pytest.raises(ConfigError) as caught:
    processes.start()
  assert str(caught.value) == says
