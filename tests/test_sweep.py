"""Sweeps: combinations of axes, run ids, pinned settings, and errors."""

import dataclasses

import pytest
from hypothesis import given, strategies as st

from resjax import config
from resjax.config import Config
from resjax.settings import ConfigError
from resjax.sweep import Run, axis, chain, expand, product, zipped

BASE = dataclasses.asdict(Config())
RESIDUAL_20 = {"model.kind": "residual", "model.depth": 20}


def runs(*points, pinned=None, variant="", base=BASE) -> list[Run]:
  """Returns the runs of the points of a sweep."""
  return expand("study", variant, base, points, pinned or {})


def ids(*points, **options) -> list[str]:
  return [run.id for run in runs(*points, **options)]


def test_an_axis_keeps_the_order_of_its_values():
  assert axis("seed", range(3)) == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
  assert axis("seed", ()) == []


def test_a_product_varies_its_last_sweep_fastest():
  points = product(axis("seed", (0, 1)), axis("model.depth", (20, 32)))
  assert [(point["seed"], point["model.depth"]) for point in points] == [(0, 20), (0, 32), (1, 20), (1, 32)]
  assert product() == [{}]
  assert product(axis("seed", (0, 1)), []) == []


def test_zipped_sweeps_are_combined_elementwise():
  points = zipped(axis("model.depth", (20, 32)), axis("train.steps", (10, 20)))
  assert points == [{"model.depth": 20, "train.steps": 10}, {"model.depth": 32, "train.steps": 20}]
  assert zipped() == []


def test_zipped_refuses_unequal_lengths():
  with pytest.raises(ConfigError, match="of one length, not 2, 3"):
    zipped(axis("seed", range(2)), axis("model.depth", (20, 32, 44)))


def test_a_chain_concatenates_sweeps():
  assert chain(axis("seed", (1,)), axis("model.depth", (20,)), []) == [{"seed": 1}, {"model.depth": 20}]


def test_later_sweeps_of_a_product_override_earlier_ones():
  assert product(axis("seed", (1,)), axis("seed", (2,))) == [{"seed": 2}]


@given(st.lists(st.integers(0, 9), max_size=4), st.lists(st.sampled_from([20, 32]), max_size=4))
def test_a_product_has_all_pairs_in_order(seeds, depths):
  points = product(axis("seed", seeds), axis("model.depth", depths))
  assert [(p["seed"], p["model.depth"]) for p in points] == [(s, d) for s in seeds for d in depths]


@pytest.mark.parametrize(
  ("point", "run_id"),
  [
    ({}, "residual-A-d20-s0"),
    ({"model.depth": 56}, "residual-A-d56-s0"),
    ({"model.kind": "plain", "model.depth": 56}, "plain-d56-s0"),
    ({"model.shortcut": "C", "seed": 4}, "residual-C-d20-s4"),
    ({"model.zero_init_scale": True}, "residual-A-d20-zero_init_scale-s0"),
    ({"model.zero_init_scale": False}, "residual-A-d20-s0"),
    ({"data.mirror": False}, "residual-A-d20-no_mirror-s0"),
    ({"train.learning_rate": 0.01}, "residual-A-d20-learning_rate_0.01-s0"),
    ({"train.learning_rate": 1}, "residual-A-d20-learning_rate_1.0-s0"),
    ({"train.weight_decay": 1e-5}, "residual-A-d20-weight_decay_1e-05-s0"),
    ({"train.drops": [0.25, 0.5]}, "residual-A-d20-drops_0.25-0.5-s0"),
    ({"train.drops": [0.5, 0.75]}, "residual-A-d20-s0"),
    ({"data.path": "/a b/../c"}, "residual-A-d20-path_-a-b-..-c-s0"),
    ({"model.block": "bottleneck", "train.nesterov": True}, "residual-A-d20-block_bottleneck-nesterov-s0"),
  ],
)
def test_ids_are_those_of_the_contract(point, run_id):
  assert ids(point) == [run_id]


def test_an_id_has_the_differences_from_the_experiment_not_from_the_paper():
  base = config.default()
  base.model.zero_init_scale = True
  points = axis("model.zero_init_scale", (True, False))
  assert ids(*points, base=base.to_dict()) == ["residual-A-d20-s0", "residual-A-d20-no_zero_init_scale-s0"]


def test_runs_have_the_order_and_settings_of_the_points():
  made = runs(*product(axis("seed", (1, 0)), axis("model.depth", (32, 20))), variant="mini")
  assert [run.id for run in made] == [f"residual-A-d{depth}-s{seed}" for seed in (1, 0) for depth in (32, 20)]
  assert [(run.config.seed, run.config.model.depth) for run in made] == [(1, 32), (1, 20), (0, 32), (0, 20)]
  assert {(run.experiment, run.variant, run.folder) for run in made} == {("study", "mini", "study-mini")}
  assert runs({})[0].folder == "study"


def test_expanding_does_not_change_the_base():
  before = dataclasses.asdict(Config())
  runs({"model.depth": 56}, pinned={"seed": 3})
  assert before == BASE


def test_equal_points_are_one_run():
  assert ids({"seed": 0}, {}, {"seed": 0}) == ["residual-A-d20-s0"]
  assert len(runs({"train.learning_rate": 1}, {"train.learning_rate": 1.0})) == 1


def test_two_runs_with_one_id_are_an_error():
  with pytest.raises(ConfigError, match=r"two runs of study would be called plain-d20-s0: .* model\.shortcut$"):
    runs(*product(axis("model.kind", ("plain",)), axis("model.shortcut", ("A", "B"))))
  with pytest.raises(ConfigError, match=r"path_-a-s0: they differ in data\.path$"):
    runs({"data.path": "/a"}, {"data.path": " a"})


def test_pinned_settings_override_the_sweep():
  points = product(axis("seed", range(3)), axis("model.depth", (20, 56)))
  assert ids(*points, pinned={"seed": 7}) == ["residual-A-d20-s7", "residual-A-d56-s7"]
  assert ids(*points, pinned={"seed": 7, "model.depth": 8}) == ["residual-A-d8-s7"]
  assert ids(*points, pinned={"model.kind": "plain"})[0] == "plain-d20-s0"


def test_a_pinned_setting_that_is_not_swept_is_not_in_the_id():
  (run,) = runs(RESIDUAL_20, pinned={"train.steps": 10})
  assert (run.id, run.config.train.steps) == ("residual-A-d20-s0", 10)


def test_the_id_has_the_pinned_value_of_a_swept_setting():
  points = axis("train.momentum", (0.5, 0.9))
  assert ids(*points, pinned={"train.momentum": 0.8}) == ["residual-A-d20-momentum_0.8-s0"]


@pytest.mark.parametrize(
  ("point", "says"),
  [
    ({"model.depht": 20}, "unknown key 'model.depht'; did you mean model.depth"),
    ({"depth": 20}, r"unknown key 'depth'; did you mean model\.depth\?"),
    ({"model": {"depth": 20}}, "model is a section"),
    ({3: 20}, "unknown key 3"),
    ({"model.depth": 21}, "model.depth = 21: .* nearest: 20 and 26"),
    ({"model.depth": "20"}, "model.depth = '20': must be an integer, not str"),
    ({"seed": None}, "seed = None: must be an integer"),
  ],
)
def test_invalid_points_are_errors(point, says):
  with pytest.raises(ConfigError, match=f"^{says}"):
    runs(point)


def test_a_sweep_without_runs_is_an_error():
  with pytest.raises(ConfigError, match=r"^experiment study: its sweep has no runs$"):
    runs()
