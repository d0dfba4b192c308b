"""The section on plain networks by initialization: numbers by hand, and sweeps without such a section."""

import pytest

from resjax import analysis
from resjax.analysis import sections
from resjax.analysis.sections import plain_depth
from resjax.config import freeze
from resjax.records import RunWriter

BATCH_NORM = {}
NO_NORM = {"model.norm": "none"}
TAILORED = {"model.norm": "none", "model.initialization": "delta", "model.activation": "tailored"}


def write(root, kind, depth, seed, error, **model):
  """Writes a finished run with the given error and settings of the model."""
  name = "-".join(str(value) for value in model.values())
  run_id = f"{'residual-A' if kind == 'residual' else kind}-d{depth}{'-' * bool(name)}{name}-s{seed}"
  config = freeze({"model": {"kind": kind, "depth": depth, **{key.split(".")[1]: v for key, v in model.items()}}})
  with RunWriter(root / run_id) as writer:
    writer.update(id=run_id, experiment="plain_depth", status="done", kind=kind, depth=depth, seed=seed)
    writer.update(shortcut="A" if kind == "residual" else None, command="a command")
    writer.update(result={"train_error": error, "test_error": error, "test_images": 10_000})
    writer.write_config(config.to_dict())


@pytest.fixture
def sweep(tmp_path):
  """Returns the directory of a sweep over depths, initializations and seeds."""
  for kind, model, errors in (
    ("plain", BATCH_NORM, {20: (0.10, 0.12), 56: (0.13, 0.16), 110: (0.3, 0.3)}),
    ("plain", NO_NORM, {20: (0.2, 0.2), 56: (0.9,)}),
    ("plain", TAILORED, {20: (0.15, 0.17), 56: (0.15, 0.17)}),
    ("residual", BATCH_NORM, {20: (0.09, 0.09), 56: (0.08, 0.07)}),
  ):
    for depth, errors_of_seeds in errors.items():
      for seed, error in enumerate(errors_of_seeds):
        write(tmp_path, kind, depth, seed, error, **model)
  return tmp_path


def test_differences_between_20_and_56_layers_are_paired_by_seed(sweep):
  section = plain_depth.build(analysis.load(sweep))
  found = section.data["plain_depth_differences"].set_index("start")
  normed = found.loc["plain, batch norm, He, ReLU"]
  assert normed["difference"] == pytest.approx(0.035) and normed["seeds"] == 2
  assert normed["low"] == pytest.approx(0.035 - 12.7062 * 0.005, abs=1e-5)  # Student's t of one degree of freedom
  assert found.loc["plain, no norm, He, ReLU", ["difference", "seeds"]].tolist() == pytest.approx([0.7, 1])
  assert section.findings == (
    "plain, batch norm, He, ReLU: test error 11.00 % at 20 layers and 14.50 % at 56, a difference of +3.5 points (95% "
    "interval −2.9 to +9.9, 2 seeds).",
    "plain, no norm, He, ReLU: test error 20.00 % at 20 layers and 90.00 % at 56, a difference of +70.0 "
    "points (one seed).",
    "plain, no norm, delta, tailored leaky ReLU: test error 16.00 % at 20 layers and 16.00 % at 56, a difference of "
    "+0.0 points (95% interval +0.0 to +0.0, 2 seeds).",
    "ResNet, batch norm, He, ReLU: test error 9.00 % at 20 layers and 7.50 % at 56, a difference of −1.5 points (95% "
    "interval −7.9 to +4.9, 2 seeds).",
  )


def test_the_table_has_one_row_per_initialization_and_one_column_per_depth(sweep):
  table = plain_depth.build(analysis.load(sweep)).tables[0]
  assert [column.title for column in table.columns] == [
    "network",
    "20",
    "56",
    "110",
    "56 − 20",
    "95% interval",
    "seeds",
  ]
  assert table.rows[0] == [
    *("plain, batch norm, He, ReLU", "11.00 ± 1.41", "14.50 ± 2.12", "30.00 ± 0.00", "+3.50", "−2.85 to +9.85", "2"),
  ]
  assert table.rows[1] == ["plain, no norm, He, ReLU", "20.00 ± 0.00", "90.00", "–", "+70.00", "–", "1"]
  assert "plain-depth" in [section.key for section in sections.build_all(analysis.load(sweep))]


def test_other_sweeps_have_no_such_section(tmp_path):
  for depth in (20, 56):
    for kind in ("plain", "residual"):
      write(tmp_path, kind, depth, 0, 0.1)
  assert plain_depth.build(analysis.load(tmp_path)) is None
