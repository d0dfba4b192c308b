"""One run on two processes of this machine: the losses of a single process, and a common stop."""

import signal
import time

import pytest

from resjax import processes, records
from resjax.settings import ConfigError
from tests.faults.runs import Runs, reproducible_records
from tests.short_run import finish


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  return Runs(tmp_path_factory.mktemp("compiled") / "store")


def test_two_processes_train_as_one_and_stop_at_the_same_step(runs, tmp_path):
  """After SIGTERM to the second process both exit with 75, and the same commands continue the run."""
  code, err = runs.run_to_completion(tmp_path / "one")
  assert code == 0, err
  both = runs.start_pair(tmp_path / "two")
  while not list(tmp_path.glob("two/*/*/metrics.jsonl")):
    assert both[0].poll() is None, finish(both[0])
    time.sleep(0.02)
  both[1].send_signal(signal.SIGTERM)
  assert [finish(process)[0] for process in both] == [75, 75]
  (stopped,) = [records.read_run(directory).run for directory in records.find_runs(tmp_path / "two")]
  assert stopped["status"] == "preempted"
  assert stopped["step"] % 5 == 0
  assert stopped["devices"] == {"platform": "cpu", "kind": "cpu", "count": 2, "processes": 2}
  assert [finish(process)[0] for process in runs.start_pair(tmp_path / "two")] == [0, 0]
  (two,), (one,) = (reproducible_records(tmp_path / name).values() for name in ("two", "one"))
  for line, expected in zip(two["metrics"][:2], one["metrics"][:2], strict=True):  # ten steps: the contract's bound
    assert line["loss"] == pytest.approx(expected["loss"], rel=1e-3)
  assert [line["step"] for line in two["metrics"]] == [line["step"] for line in one["metrics"]]
  assert len(two["responses"]) == len(one["responses"])


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
