"""The rows of `--list`, filters of `--only`, and text tables."""

import json

import numpy as np
import pytest

from resjax import listing, registry
from resjax.settings import ConfigError
from resjax.sweep import Run

CONTRACT = ["id", "experiment", "variant", "kind", "depth", "shortcut", "seed", "params", "macs", "steps", "batch_size"]


@pytest.fixture(scope="module")
def runs() -> list[Run]:
  return registry.find("cifar_depth_sweep").runs()


def ids(runs: list[Run]) -> list[str]:
  return [run.id for run in runs]


def test_a_row_has_the_keys_of_the_contract_in_order(runs):
  rows = [listing.row(run) for run in runs]
  assert all(list(row) == CONTRACT for row in rows)
  assert json.loads(json.dumps(rows)) == rows


def test_rows_of_a_residual_and_a_plain_network(runs):
  rows = {row["id"]: row for row in map(listing.row, runs)}
  common = {"experiment": "cifar_depth_sweep", "variant": "", "depth": 20, "seed": 0, "params": 269_722}
  common |= {"macs": 40_551_040, "steps": 64_000, "batch_size": 128}
  assert rows["residual-A-d20-s0"] == common | {"id": "residual-A-d20-s0", "kind": "residual", "shortcut": "A"}
  assert rows["plain-d20-s0"] == common | {"id": "plain-d20-s0", "kind": "plain", "shortcut": None}


def test_parameters_depend_on_channels_and_classes_of_the_data_set(tmp_path):
  experiment, depth = registry.find("cifar_depth_sweep"), {"model.depth": 8}

  def params(**data) -> int:
    (run, *_) = experiment.runs(pinned=depth | {f"data.{key}": value for key, value in data.items()})
    return listing.row(run)["params"]

  cifar10 = params()
  assert params(name="digits") == cifar10 - 2 * 9 * 16  # one channel instead of three
  assert params(name="cifar100") == cifar10 + 90 * 65
  images, labels = np.zeros((4, 6, 5, 4), np.uint8), np.arange(4)
  np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
  assert params(name="npz", path=str(tmp_path / "a.npz")) == cifar10 + 9 * 16 - 6 * 65  # four channels, four classes


@pytest.mark.parametrize(
  ("expression", "chosen"),
  [
    ("id=plain-d56-s3", ["plain-d56-s3"]),
    ("kind=plain depth=20 seed=0,4", ["plain-d20-s0", "plain-d20-s4"]),
    ("  seed=4   depth=1202 ", ["residual-A-d1202-s4"]),
    ("shortcut=null seed=1 depth=20,32", ["plain-d20-s1", "plain-d32-s1"]),
    ("params=19421274 seed=2", ["residual-A-d1202-s2"]),
    ("variant= depth=1202 seed=0", ["residual-A-d1202-s0"]),
    ("depth=56,20 seed=0 shortcut=A", ["residual-A-d20-s0", "residual-A-d56-s0"]),
  ],
)
def test_only_selects_runs_and_keeps_their_order(runs, expression, chosen):
  assert ids(listing.filter_runs(runs, expression)) == chosen


@pytest.mark.parametrize("expression", ["", "  "])
def test_an_empty_filter_selects_all_runs(runs, expression):
  assert listing.filter_runs(runs, expression) == runs


@pytest.mark.parametrize(
  ("expression", "says"),
  [
    ("depth=21", "--only depth=21: matches no run; depth is 20, 32, 44, 56, 110, 1202"),
    ("depth=", "--only depth=: matches no run; depth is 20"),
    ("kind=plain depth=1202", "--only depth=1202: matches no run; depth is 20, 32, 44, 56, 110"),
    ("shortcut=B", "--only shortcut=B: matches no run; shortcut is A, null"),
    ("seed=0 seed=1", "--only seed=1: matches no run; seed is 0"),
    ("lr=0.1", f"--only lr=0.1: must be key=value[,value...] with a key of {', '.join(CONTRACT)}"),
    ("depth", "--only depth: must be key=value"),
    ("=20", "--only =20: must be key=value"),
    ("depth = 20", "--only depth: must be key=value"),
    ("model.depth=20", "--only model.depth=20: must be key=value"),
  ],
)
def test_errors_of_only_name_the_possible_values(runs, expression, says):
  with pytest.raises(ConfigError) as caught:
    listing.filter_runs(runs, expression)
  assert str(caught.value).startswith(says)


def test_columns_of_a_table_are_aligned():
  rows = [{"id": "a", "params": 1234567, "shortcut": None}, {"id": "long", "params": 8, "shortcut": "A"}]
  assert listing.table(rows).splitlines() == [
    "id    params     shortcut",
    "a     1,234,567  null",
    "long  8          A",
  ]


def test_a_table_without_rows_is_empty():
  assert listing.table([]) == ""
