"""Results of later papers, and the section of the report that compares them with the runs."""

import jax
import jax.numpy as jnp
import pytest

from resjax import analysis, follow_up_papers, listing, models, records, registry
from resjax.analysis.sections import follow_ups
from resjax.config import Config, Model, Train, freeze, uses_warmup
from resjax.settings import flatten

RECIPE = {"train.steps": 175_781, "train.nesterov": True, "data.validation_images": 5000}
# Test and validation error by step; the best validation error is at step 200.
ERRORS = {100: (0.09, 0.08), 200: (0.06, 0.05), 300: (0.055, 0.06)}


def nested(values):
  """Returns nested dictionaries of values by dotted key."""
  tree: dict = {}
  for key, value in values.items():
    *path, name = key.split(".")
    target = tree
    for part in path:
      target = target.setdefault(part, {})
    target[name] = value
  return tree


def write(root, survival, **changes):
  """Writes a finished run of ResNet-110 with stochastic depth, without warm-up, and other settings by dotted key."""
  settings = {"model.depth": 110, "model.survival": survival, "train.warmup": "off", **RECIPE, **changes}
  config = freeze(nested(settings))
  run_id = f"residual-A-d{config.model.depth}-{survival}-s0"
  with records.RunWriter(root / run_id) as writer:
    writer.update(id=run_id, status=records.DONE, kind="residual", depth=config.model.depth, shortcut="A", seed=0)
    writer.update(experiment="stochastic_depth", command="a command", steps=300, step=300)
    writer.write_config(config.to_dict())
    for step, (test, val) in ERRORS.items():
      rows = [{"step": step, "epoch": 1.0, "split": split, "error": e} for split, e in (("test", test), ("val", val))]
      writer.append("metrics", [{**row, "loss": 1.0, "images": 1, "seconds": 1.0} for row in rows])
    writer.update(result={"train_error": 0.0, "test_error": 0.055, "test_images": 10_000})


def test_the_compared_error_is_that_at_the_best_validation_error(tmp_path):
  for survival in (1.0, 0.5):
    write(tmp_path, survival)
  section = follow_ups.build(analysis.load(tmp_path))
  rows = section.data["follow_up_comparison"].set_index("published")
  assert list(rows.index) == [0.0525, 0.0641]
  assert list(rows["here"]) == [0.06, 0.06] and list(rows["reason"]) == ["", ""]
  assert section.findings == ("2 of 2 numbers of Huang et al. 2016 were obtained with the recipe of the runs here.",)
  assert section.tables[0].rows[0][-1] == "5.25"


def test_differences_from_the_published_recipe_are_listed(tmp_path):
  write(tmp_path, 0.5, **{"train.steps": 300, "data.validation_images": 0})
  (row,) = follow_ups.build(analysis.load(tmp_path)).data["follow_up_comparison"].to_dict("records")
  assert row["reason"] == "data.validation_images 0 here, 5000 in the paper; train.steps 300 here, 175781 in the paper"


def test_the_deepest_networks_have_their_own_recipe(tmp_path):
  """300 epochs of 45,000 images instead of 500 at 110 layers, the first 10 of them with a lower learning rate."""
  for run in registry.find("stochastic_depth").runs("1202"):
    settings = flatten(run.config.to_dict())
    write(tmp_path, run.config.model.survival, **{key: value for key, value in settings.items() if key != "seed"})
  rows = follow_ups.build(analysis.load(tmp_path)).data["follow_up_comparison"]
  assert sorted(rows["published"]) == [0.0491, 0.0667]
  assert set(rows["reason"]) == {
    "warm-up at rate 0.01 until the training error is below 0.8 here, at rate 0.01 for 3516 steps in the paper"
  }
  write(tmp_path / "short", 0.5, **{"model.depth": 1202, "train.warmup": "off"})
  (row,) = follow_ups.build(analysis.load(tmp_path / "short")).data["follow_up_comparison"].to_dict("records")
  assert row["reason"] == (
    "train.steps 175781 here, 105469 in the paper; warm-up none here, at rate 0.01 for 3516 steps in the paper"
  )


def test_a_warm_up_is_a_difference_from_papers_without_one_and_from_those_of_fixed_length(tmp_path):
  """Identity mappings: 400 steps (appendix). Here the warm-up ends at an error, or is off."""
  plain = {"train.steps": 64_000, "train.nesterov": False, "data.validation_images": 0}
  preactivated = {**plain, "model.preactivation": True}
  for name, changes, said in (
    ("auto", {"train.warmup": "auto"}, "at rate 0.01 until the training error is below 0.8 here"),
    ("off", {"train.warmup": "off"}, "none here"),
  ):
    write(tmp_path / name, 1.0, **preactivated, **changes)
    section = follow_ups.build(analysis.load(tmp_path / name))
    (row,) = section.data["follow_up_comparison"].to_dict("records")
    assert row["reason"] == f"warm-up {said}, at rate 0.01 for 400 steps in the paper"
    assert (row["published"], row["statistic"], row["published_runs"]) == (0.0637, "median", 5)
    assert section.tables[0].rows[0][-1].startswith("6.37 (median of 5)")
    assert section.findings[0].startswith("0 of 1 numbers of He et al. 2016")
  write(tmp_path / "stochastic", 0.5, **{"train.warmup": "on"})
  (row,) = follow_ups.build(analysis.load(tmp_path / "stochastic")).data["follow_up_comparison"].to_dict("records")
  assert row["reason"].endswith("is below 0.8 here, none in the paper")


@pytest.mark.parametrize("warmup", ["auto", "on", "off"])
@pytest.mark.parametrize(
  "model", [Model(depth=110), Model(depth=104), Model(kind="plain", depth=110), Model("imagenet", depth=34)], ids=str
)
def test_the_report_knows_which_runs_warm_up(model, warmup):
  config = Config(model=model, train=Train(warmup=warmup))
  assert follow_ups.warms_up(flatten(config.to_dict())) == uses_warmup(config.model, config.train)


def test_means_and_medians_of_identity_mappings():
  """Table 4 has 4.92 (4.89 +- 0.14) and, with a batch size of 64, 4.62 (4.69 +- 0.20): median (mean +- deviation)."""
  results = [result for result in follow_up_papers.RESULTS if result.paper == "He et al. 2016"]
  deepest = [result for result in results if result.network.get("model.depth") == 1001]
  assert [(each.value, each.spread, each.statistic) for each in deepest] == [
    (0.0489, 0.0014, follow_up_papers.MEAN),
    (0.0469, 0.0020, follow_up_papers.MEAN),
  ]
  assert {each.statistic for each in results if each not in deepest} == {follow_up_papers.MEDIAN}
  assert {(each.runs, each.warmup_steps) for each in results} == {(5, 400)}


def test_resnet_18_for_cifar_has_the_published_number_of_parameters(tmp_path):
  """The common implementation has 11,173,962."""
  run = registry.find("cifar_resnet18").runs("")[0]
  assert listing.net(run.config).params == 11_173_962
  model = models.build(run.config.model, 10, models.ScanOptions())
  variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
  assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 11_173_962
  with records.RunWriter(tmp_path / run.id) as writer:
    writer.update(id=run.id, status=records.DONE, kind="residual", depth=18, shortcut="B", seed=0, command="a command")
    writer.update(experiment="cifar_resnet18", steps=78_125, step=78_125, result={"test_error": 0.05})
    writer.write_config(run.config.to_dict())
  section = follow_ups.build(analysis.load(tmp_path))
  assert section.findings == (
    "1 of 1 numbers of DeVries and Taylor 2017 were obtained with the recipe of the runs here.",
  )
  assert section.tables[0].rows[0][-3:] == ["5.00", "1", "4.72 (mean of 5)"]


def test_networks_of_the_original_paper_are_not_compared_with_later_papers(tmp_path):
  write(tmp_path, 1.0)
  assert follow_ups.build(analysis.load(tmp_path)) is None


@pytest.mark.parametrize("result", follow_up_papers.RESULTS, ids=lambda result: f"{result.paper} {result.network}")
def test_every_published_network_can_be_built(result):
  """Names and values of its settings are valid in the configuration."""
  settings = freeze(nested({**follow_up_papers.NETWORK, **follow_up_papers.RECIPE, **result.network, **result.recipe}))
  assert settings.model.net((32, 32, 3), 10).params > 0
  assert result.value is None or 0 < result.value < 3


def test_recipes_of_later_papers_are_differences_from_the_defaults():
  defaults = flatten(Config().to_dict())
  named = {**follow_up_papers.NETWORK, **follow_up_papers.RECIPE, "model.depth": 20}
  assert {key: defaults[key] for key in named} == named
