"""Results of later papers, and the section of the report that compares them with the runs."""

import jax
import jax.numpy as jnp
import pytest

from resjax import analysis, follow_up_papers, listing, models, records, registry
from resjax.analysis.sections import follow_ups
from resjax.config import Config, freeze
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
  """Writes a finished run of ResNet-110 with stochastic depth and other settings by dotted key."""
  config = freeze(nested({"model.depth": 110, "model.survival": survival, **RECIPE, **changes}))
  run_id = f"residual-A-d110-{survival}-s0"
  with records.RunWriter(root / run_id) as writer:
    writer.update(id=run_id, status=records.DONE, kind="residual", depth=110, shortcut="A", seed=0)
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
  assert section.tables[0].rows[0][-3:] == ["5.00", "1", "4.72"]


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
