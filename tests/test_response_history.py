"""Layer responses: measurements with other settings, history during training, and scaling with depth."""

from pathlib import Path

import pandas as pd
import pytest

from resjax import analysis, records, study_records
from resjax.analysis import measurements, plotting, response_history, response_scaling
from resjax.analysis.sections import through_training
from tests import synthetic_runs

LAYERS = ("stem/conv", "stage1/block1/conv1", "stage1/block1/conv2")


def write(root: Path, depth: int = 8, seed: int = 0, kind: str = "residual", sizes=((0, 4.0), (10, 2.0))) -> Path:
  """Writes a run of three layers whose responses are the layer's number times a size.

  Args:
    root: Directory of the experiment.
    depth: Depth of the network.
    seed: Seed of the run.
    kind: "residual" or "plain".
    sizes: Pairs of step and size.

  Returns:
    The run directory.
  """
  name = f"{'residual-A' if kind == 'residual' else kind}-d{depth}-s{seed}"
  with records.RunWriter(root / name) as writer:
    writer.update(id=name, kind=kind, depth=depth, seed=seed, steps=10, step=10, status=records.DONE)
    writer.write_config({"responses": {"source": "test", "pooling": "units", "first_conv": True}})
    for step, size in sizes:
      writer.append("responses", [{"mode": "batch", "images": 64, **row} for row in rows(step, size)])
  return root / name


def rows(step: int, size: float) -> list[dict]:
  """Returns lines of responses.jsonl for the three layers."""
  return [
    {"step": step, "layer": layer, "name": name, "stage": int(layer > 1), "block": int(layer > 1), "std": layer * size}
    for layer, name in enumerate(LAYERS, 1)
  ]


def test_the_history_has_all_captures_with_the_range_over_seeds(tmp_path):
  write(tmp_path)
  write(tmp_path, seed=1, sizes=((0, 6.0), (10, 2.0)))
  history = response_history.history(analysis.load(tmp_path))
  assert sorted(set(history["step"])) == [0, 10]
  start = history[history["step"] == 0].set_index("position")
  assert (start.loc[3, "low"], start.loc[3, "mean"], start.loc[3, "high"]) == (12, 15, 18)
  assert set(history["layers"]) == {3} and set(history["runs"]) == {2}


def test_measurements_can_be_selected_and_described(tmp_path):
  directory = write(tmp_path)
  with study_records.writer(directory) as writer:
    other = {"mode": "running", "images": 32, "source": "train", "pooling": "channels", "first_conv": True}
    writer.append("responses", [{**row, **other} for row in rows(10, 7.0)])
  logs = analysis.load(tmp_path)
  of_training, *_ = measurements.measurements_of(measurements._all_responses(logs))
  (of_study,) = measurements.other_measurements(logs)
  assert (of_training["mode"], of_training["source"], of_training["pooling"]) == ("batch", "test", "units")
  assert measurements.describe(of_study) == (
    "running statistics, 32 training images, means of the standard deviations of a layer’s channels, "
    "including the first convolution"
  )
  curves = analysis.response_curves(logs, "original", {"mode": "running"})
  assert list(curves["mean"]) == [7, 14, 21]
  assert list(analysis.response_curves(logs, "original")["mean"]) == [2, 4, 6]  # the measurement during training
  with pytest.raises(ValueError, match="unknown key 'color': must be one of mode, source"):
    measurements.measured_responses(logs, {"color": 1})


def test_the_first_convolution_can_be_omitted(tmp_path):
  write(tmp_path)
  curves = analysis.response_curves(analysis.load(tmp_path), "original", {"first_conv": False, "mode": "batch"})
  assert list(curves["position"]) == [1, 2] and list(curves["name"]) == list(LAYERS[1:])
  assert list(curves["mean"]) == [4, 6]


@pytest.mark.parametrize(
  ("steps", "expected"), [([5, 0, 5], [0, 5]), (list(range(0, 900, 100)), [0, 200, 400, 600, 800]), ([], [])]
)
def test_evenly_spaced_steps_include_the_first_and_the_last(steps, expected):
  assert response_history.evenly_spaced_steps(steps) == expected


def test_the_fit_finds_an_exact_power_and_gives_an_interval():
  exact = [(f"residual-A-d{depth}", "residual", depth, 3.0 * depth**-0.5) for depth in (20, 56, 110)]
  means = pd.DataFrame(exact, columns=["net", "kind", "depth", "mean"])
  row = response_scaling.fit_response_scaling(means).iloc[0]
  assert (row["exponent"], row["low"], row["high"]) == pytest.approx((-0.5, -0.5, -0.5), abs=1e-6)
  assert row["coefficient"] == pytest.approx(3.0) and (row["depths"], row["runs"]) == (3, 3)
  bent = response_scaling.fit_response_scaling(means.assign(mean=means["mean"] * [1.0, 1.3, 1.0])).iloc[0]
  assert bent["low"] < bent["exponent"] < bent["high"]
  assert response_scaling.fit_response_scaling(means[:2]).empty  # two depths are fitted by any power law


def test_mean_responses_are_over_the_layers_of_each_run(tmp_path):
  write(tmp_path)
  row = response_history.mean_responses(analysis.load(tmp_path)).iloc[0]
  assert (row["step"], row["layers"], row["mean"]) == (10, 3, 4.0)


def test_every_network_has_a_map_and_curves(tmp_path):
  write(tmp_path)
  write(tmp_path, kind="plain")
  section = through_training.build(analysis.load(tmp_path))
  names = [panel.name for panel in section.panels]
  assert names == [
    *("response-map-plain-d8", "response-plain-d8", "response-map-residual-A-d8", "response-residual-A-d8"),
  ]
  assert "data:image/png" in section.panels[0].svg  # the map is one bitmap
  assert "changes from 8 at step 0 to 4 at step 10" in section.findings[0]


def test_a_single_capture_has_no_section(tmp_path):
  write(tmp_path, sizes=((10, 2.0),))
  assert through_training.build(analysis.load(tmp_path)) is None


def test_a_thousand_layers_are_averaged_to_two_hundred_points(tmp_path):
  directory = synthetic_runs.write_run(tmp_path, depth=1202)
  with records.RunWriter(directory) as writer:
    writer.append("responses", synthetic_runs.response_rows("residual", 1202, 0, synthetic_runs.STEPS + 1))
  history = response_history.history(analysis.load(tmp_path))
  assert len(history) == 2 * 1201
  thin = plotting.downsample(history, ["net", "step"])
  assert len(thin) <= 2 * plotting.MAX_POINTS and set(thin["layers"]) == {1201}
  whole = history[history["step"] == synthetic_runs.STEPS]
  first = thin[thin["step"] == synthetic_runs.STEPS].iloc[0]
  assert first["mean"] == pytest.approx(whole["mean"][:7].mean())  # seven layers per point
  assert (first["low"], first["high"]) == (whole["mean"][:7].min(), whole["mean"][:7].max())
