"""TensorBoard event files contain the numbers of the logs."""

import struct
from pathlib import Path

import pytest

from resjax import analysis, records, report
from tests import synthetic_runs

pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")


def scalars(folder: Path) -> dict[tuple[str, int], float]:
  """Returns the scalars of the only event file of a folder by tag and step.

  The file repeats length, checksum, message and checksum.
  """
  from tensorboardX.proto.event_pb2 import Event

  (path,) = folder.glob("events.out.tfevents.*")
  raw, found = path.read_bytes(), {}
  while raw:
    (length,) = struct.unpack_from("<Q", raw)
    event = Event.FromString(raw[12 : 12 + length])
    raw = raw[16 + length :]
    found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
  return found


def test_events_are_the_lines_of_the_logs(tmp_path, capsys):
  directory = synthetic_runs.write_run(tmp_path / "e", depth=20, every=16_000)
  with records.RunWriter(directory) as writer:
    writer.append("gradients", synthetic_runs.gradient_rows(20, True, 5))
  for _ in range(2):  # the second call replaces the files of the first
    assert report.main([str(tmp_path / "e"), "--tensorboard"]) == 0
  out = tmp_path / "e" / "tensorboard"
  assert capsys.readouterr().out.splitlines() == [str(out), str(tmp_path / "e" / "report.html")] * 2
  found = scalars(out / "residual-A-d20-s0")
  logs = analysis.load(tmp_path / "e")
  for row in logs.metrics.to_dict("records"):
    assert found[f"error/{row['split']}", row["step"]] == pytest.approx(row["error"], rel=1e-6)  # float32
  assert found["gradient/0020", 5] == pytest.approx(0.1)
  assert sum(tag.startswith("response/") for tag, _ in found) == len(logs.responses)
  assert records.find_runs(tmp_path / "e") == [directory]
