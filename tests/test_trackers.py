"""Export to experiment trackers, read back with the library of each tracker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resjax import analysis, cli, records
from tests import extras, synthetic_runs

ROOT = Path(__file__).parent.parent
# Programs that print the runs of a tracker as JSON: project, name, failed or not, settings, {tag: {step: value}}.
MLFLOW = """
import json, mlflow
client, runs = mlflow.MlflowClient(), []
for experiment in client.search_experiments():
  for run in client.search_runs([experiment.experiment_id]):
    histories = {tag: client.get_metric_history(run.info.run_id, tag) for tag in run.data.metrics}
    series = {tag: {metric.step: metric.value for metric in history} for tag, history in histories.items()}
    runs.append([experiment.name, run.info.run_name, run.info.status == "FAILED", run.data.params, series])
print(json.dumps(runs))
"""
TRACKIO = """
import json, trackio
runs = []
for run in trackio.Api().runs("cifar_depth_sweep"):
  series = {}
  for row in trackio.SQLiteStorage.get_logs(run.project, run.name, run_id=run.id):
    for tag, value in row.items():
      if "/" in tag:
        series.setdefault(tag, {})[row["step"]] = value
  settings = {f"{section}.{key}": value for section in ("model", "train") for key, value in run.config[section].items()}
  runs.append([run.project, run.name, run.config["run"]["status"] == "failed", settings, series])
print(json.dumps(runs))
"""
# An offline run is a header and a LevelDB log: blocks of 32 KiB with fragments of checksum, length, type and data.
WANDB = """
import glob, json, struct
from pathlib import Path
from wandb.proto import wandb_internal_pb2

def messages(raw):
  at, parts = 7, b""
  while at + 7 <= len(raw):
    if 2**15 - at % 2**15 < 7:
      at += 2**15 - at % 2**15
    _, length, kind = struct.unpack_from("<IHB", raw, at)
    parts += raw[at + 7 : at + 7 + length]
    at += 7 + length
    if kind in (1, 4):
      yield wandb_internal_pb2.Record.FromString(parts)
      parts = b""

runs = []
for path in sorted(glob.glob("wandb/offline-run-*/*.wandb")):
  series, failed = {}, None
  for record in messages(Path(path).read_bytes()):
    if record.HasField("run"):
      run = record.run
    if record.HasField("exit"):
      failed = record.exit.exit_code != 0
    if record.HasField("history"):
      items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
      for tag, value in items.items():
        if "/" in tag:
          series.setdefault(tag, {})[items["_step"]] = value
  config = {update.key or update.nested_key[0]: json.loads(update.value_json) for update in run.config.update}
  settings = {f"{section}.{key}": value for section in ("model", "train") for key, value in config[section].items()}
  runs.append([run.project, run.display_name, failed, settings, series])
print(json.dumps(runs))
"""
READERS = {"mlflow": MLFLOW, "trackio": TRACKIO, "wandb": WANDB}


def environment(folder: Path) -> dict[str, str]:
  """Returns environment variables for trackers without network, account or home directory."""
  return os.environ | {
    "PYTHONPATH": str(ROOT),
    "HOME": str(folder),
    "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    "TRACKIO_DIR": str(folder / "trackio"),
    "HF_HUB_OFFLINE": "1",
  }


def python(folder: Path, *arguments: str, **others: str) -> subprocess.CompletedProcess[str]:
  """Runs Python in a folder with the environment of a tracker and further variables."""
  return subprocess.run(
    [sys.executable, *arguments],
    cwd=folder,
    env=environment(folder) | others,
    capture_output=True,
    text=True,
    timeout=300,
  )


def read_back(folder: Path, tracker: str) -> list:
  """Returns the runs of a tracker."""
  result = python(folder, "-c", READERS[tracker])
  assert result.returncode == 0, result.stderr
  return json.loads(result.stdout.splitlines()[-1])


def expected(directory: Path) -> dict[str, dict[str, float]]:
  """Returns the values of each tag by step that a tracker should have, read from the files of a run directory."""
  series: dict[str, dict[str, float]] = {}
  for line in map(json.loads, (directory / "metrics.jsonl").read_text().splitlines()):
    for name in ("loss", "error", "learning_rate", "images_per_second"):
      if line[name] is not None:
        series.setdefault(f"{name}/{line['split']}", {})[str(line["step"])] = line[name]
  for line in map(json.loads, (directory / "responses.jsonl").read_text().splitlines()):
    series.setdefault(f"response/{line['layer']:04d}", {})[str(line["step"])] = line["std"]
  run = json.loads((directory / "run.json").read_text())
  for key, value in (run["result"] or {}).items():
    if value is not None:
      series[f"result/{key}"] = {str(run["step"]): value}
  return series


@pytest.mark.parametrize("tracker", cli.TRACKERS)
def test_ended_runs_are_exported_once(tracker, tmp_path):
  pytest.importorskip(tracker, reason=f"the extra {tracker} is not installed")
  root = tmp_path / "cifar_depth_sweep"
  sizes = {"every": 16_000, "depth": 20}
  done = synthetic_runs.write_run(root, **sizes)
  failed = synthetic_runs.write_run(root, "plain", **sizes, status=records.FAILED, reached=32_000, responses=False)
  (failed / "responses.jsonl").touch()
  running = synthetic_runs.write_run(root, seed=1, **sizes, status=records.RUNNING, reached=32_000)
  command = ("-m", "resjax.report", str(root), "--to", tracker)
  first, second = python(tmp_path, *command), python(tmp_path, *command)
  assert first.returncode == second.returncode == 0, first.stderr + second.stderr
  assert first.stdout.startswith(f"{tracker}: 2 runs written, 0 already exported, 1 not finished yet; ")
  assert second.stdout.startswith(f"{tracker}: 0 runs written, 2 already exported, 1 not finished yet; ")
  found = {name: (project, *others) for project, name, *others in read_back(tmp_path, tracker)}
  assert len(read_back(tmp_path, tracker)) == len(found) == 2
  for directory, is_failed in ((done, False), (failed, True)):
    project, has_failed, settings, series = found[directory.name]
    assert (project, has_failed) == ("cifar_depth_sweep", is_failed)
    assert {key: str(settings[key]) for key in ("model.depth", "train.batch_size")} == {
      "model.depth": "20",
      "train.batch_size": "128",
    }
    assert series == expected(directory)
  with records.RunWriter(running) as writer:  # when this run has ended, only it is added
    writer.update(status=records.DONE, ended=records.utc_now())
  assert python(tmp_path, *command).stdout.startswith(f"{tracker}: 1 runs written, 2 already exported; ")
  assert len(read_back(tmp_path, tracker)) == 3


def test_an_interrupted_export_is_repeated(tmp_path):
  pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
  root = tmp_path / "cifar_depth_sweep"
  directory = synthetic_runs.write_run(root, depth=20, every=16_000)
  command = ("-m", "resjax.report", str(root), "--to", "mlflow")
  stop = "import mlflow, sys, resjax.report as r; mlflow.MlflowClient.set_terminated = None; r.main(sys.argv[1:])"
  assert "TypeError" in python(tmp_path, "-c", stop, *command[2:]).stderr
  assert python(tmp_path, *command).stdout.startswith("mlflow: 1 runs written, 0 already exported; ")
  ((_, name, failed, _, series),) = read_back(tmp_path, "mlflow")
  assert (name, failed, series) == (directory.name, False, expected(directory))


def test_a_store_that_cannot_be_used_is_one_line(tmp_path):
  pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
  root = synthetic_runs.write_run(tmp_path / "cifar_depth_sweep", depth=20, every=16_000).parent
  result = python(tmp_path, "-m", "resjax.report", str(root), "--to", "mlflow", MLFLOW_TRACKING_URI="nowhere://x")
  assert result.returncode == 2
  assert result.stderr.startswith("resjax.report: MLflow at nowhere://x: ") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("tracker", cli.TRACKERS)
def test_a_missing_library_is_named_with_its_extra(tracker, tmp_path):
  synthetic_runs.write_run(tmp_path / "e", depth=20, every=16_000)
  result = extras.run("analysis", "resjax.report", "e", "--to", tracker, cwd=tmp_path)
  assert result.returncode == 2
  assert result.stderr == f"resjax.report: needs {tracker}: install the extra {tracker}\n"
  assert not (tmp_path / "e" / "report.html").exists()


def test_runs_with_the_same_id_are_told_apart(tmp_path):
  from resjax.analysis.trackers.tracked_run import tracked_runs

  for name in ("one", "other"):
    synthetic_runs.write_run(tmp_path / name, depth=20, every=16_000, experiment=name)
  one, other = tracked_runs(analysis.load(tmp_path))
  assert (one.name, one.project, other.project) == (other.name, "one", "other")
  assert one.key != other.key and len(one.scalars) == len(other.scalars)
