"""Whole runs with other settings: a loss that is not finite, warm-up, and combinations of options."""

import shutil

import pytest

from resjax import records
from tests.short_run import finish, run_directory, start


def test_a_run_whose_loss_is_not_finite_fails_and_is_not_trained_again(environment, tmp_path):
  changes = {"train__learning_rate": "1e38", "train__steps": "20", "responses__steps": "()", "gradients__steps": "()"}
  code, out, err = finish(start(tmp_path, environment, **changes))
  run = records.read_run(run_directory(tmp_path)).run
  assert code == 1
  assert run["status"] == "failed"
  assert run["reason"].startswith("the loss is not finite at step ")
  assert run["reason"] in out
  assert run["result"]["test_error"] is None
  assert "Traceback" not in err
  before = {path: path.read_bytes() for path in run_directory(tmp_path).glob("*.json*")}
  code, out, err = finish(start(tmp_path, environment, **changes))
  assert code == 1 and run["reason"] in out
  refusal = f"{run['id']} is not trained again: {run['reason']}; to try it again, delete {run_directory(tmp_path)}"
  assert refusal in err.splitlines()
  assert before == {path: path.read_bytes() for path in run_directory(tmp_path).glob("*.json*")}
  shutil.rmtree(run_directory(tmp_path))
  code, _, err = finish(start(tmp_path, environment, **(changes | {"train__learning_rate": "0.1"})))
  assert code == 0, err


def test_the_end_of_the_warm_up_is_recorded_and_so_is_its_absence(environment, tmp_path):
  changes = {"train__warmup": "on", "train__warmup_window": "10", "responses__steps": "()"}
  code, _, err = finish(start(tmp_path / "ends", environment, **changes))
  assert code == 0, err
  run = records.read_run(run_directory(tmp_path / "ends"))
  (event,) = [event for event in run.run["events"] if event["name"] == "warm-up ended"]
  assert 10 <= event["step"] < 60
  rates = {row["step"]: row["learning_rate"] for row in run.metrics if row["split"] == "train"}
  assert rates[5] == pytest.approx(0.01)
  assert max(rates.values()) == pytest.approx(0.1)
  code, _, err = finish(start(tmp_path / "never", environment, **changes, train__warmup_error="0.0"))
  assert code == 0, err
  names = [event["name"] for event in records.read_run(run_directory(tmp_path / "never")).run["events"]]
  assert names == ["warm-up never ended"]


COMBINATIONS = {
  "bottleneck": {
    "model__depth": "11",
    "model__block": "bottleneck",
    "model__shortcut": "C",
    "model__preactivation": "true",
    "data__normalize": "channel",
    "execution__remat": "block",
    "execution__unroll": "2",
    "execution__devices": "1",
  },
  "pitfalls": {
    "model__option_a_stride": "average",
    "model__option_a_zeros": "both",
    "model__zero_init_scale": "true",
    "model__precision": "bfloat16",
    "model__padding": "same",
    "model__norm_images": "32",
    "train__nesterov": "true",
    "train__decay_norm_and_bias": "false",
    "responses__source": "train",
    "responses__mode": "batch",
    "responses__pooling": "channels",
    "responses__first_conv": "false",
    "train__schedule": "cosine",
    "train__plateau_patience": "5",  # the default, because the schedule has no plateau
    "train__plateau_gain": "0.001",
    "evaluation__every": "0",
    "checkpoint__every": "0",
  },
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_options_can_be_combined_on_the_command_line(environment, tmp_path, name):
  changes = {"responses__steps": "()"} | COMBINATIONS[name]
  depth = changes.get("model__depth", "8")
  process = start(tmp_path, environment, **changes, only=f"depth={depth} kind=residual")
  code, _, err = finish(process)
  assert code == 0, err
  run = records.read_run(run_directory(tmp_path))
  assert run.run["result"]["train_error"] < 0.8  # chance is 0.9
  assert run.responses[0]["mode"] == ("batch" if name == "pitfalls" else "running")
  deviations = {row["name"] for row in run.run["deviations"]}
  changed = {key.replace("__", ".") for key in COMBINATIONS[name] if key.startswith("model")}
  assert changed - {"model.depth"} <= deviations | {"model.norm_images"}
