"""Lesions against networks with fewer blocks or permuted variables, random plans, and the command."""

import dataclasses
import itertools
import json
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import analysis, models, study, study_records
from resjax.analysis.sections import lesions as lesions_section
from resjax.config import Model
from resjax.config.studies import Lesions
from resjax.settings import ConfigError
from resjax.studies import lesion_plans, segmented_model, trained_model
from resjax.studies.lesion_forward import LesionedModel
from resjax.train import evaluate
from tests import random_networks

NET = Model(depth=12, blocks=(3, 2))
SHORTER = Model(depth=10, blocks=(2, 2))
PLACES = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
WHOLE = lesion_plans.Lesion("none", (), ((1, 2, 3), (1, 2)), 0)
DELETED = dataclasses.replace(WHOLE, deleted=((1, 2),))
FIRST_DELETED = dataclasses.replace(WHOLE, deleted=((2, 1),))
MOVED = dataclasses.replace(WHOLE, order=((1, 3, 2), (1, 2)))


@pytest.fixture(scope="module")
def images():
  rng = np.random.default_rng(1)
  return jnp.asarray(rng.integers(0, 256, (24, 8, 8, 1), np.uint8)), jnp.asarray(np.arange(24) % 10)


def random_net(kind):
  return random_networks.restored_run(dataclasses.replace(NET, kind=kind), 8)


def without_second(tree):
  """Variables without the second block of the first stage, which is the first of the stacked ones."""
  return tree | {"stage1": tree["stage1"] | {"rest": jax.tree.map(lambda leaf: leaf[1:], tree["stage1"]["rest"])}}


def swapped(tree):
  return tree | {"stage1": tree["stage1"] | {"rest": jax.tree.map(lambda leaf: leaf[::-1], tree["stage1"]["rest"])}}


def silenced(params):
  """Parameters with the main branch of the second stage's first block times zero."""
  block = params["stage2"]["block1"]
  block = block | {"norm2": jax.tree.map(jnp.zeros_like, block["norm2"])}
  return params | {"stage2": params["stage2"] | {"block1": block}}


def outcome(model, variables, net, images):
  return jax.device_get(evaluate.evaluate(models.build(model, 10), 16, variables, *images, net.input.statistics))


@pytest.mark.parametrize("kind", ["residual", "plain"])
def test_results_are_those_of_the_equivalent_networks(images, kind):
  """Losses agree to a relative 1e-5 and errors exactly; the last batch is incomplete."""
  net = random_net(kind)
  lesions = [WHOLE, DELETED, MOVED, FIRST_DELETED, WHOLE]
  own = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (5, *leaf.shape)), net.variables["batch_stats"])
  parts = segmented_model.SegmentedModel(net.config.model, 10)
  plans = lesion_plans.arrays(lesions)
  results = LesionedModel(parts, 16, net.variables, plans, net.input.statistics).test(own, *images)
  model, variables = net.config.model, net.variables
  expected = [
    outcome(model, variables, net, images),
    outcome(
      dataclasses.replace(SHORTER, kind=model.kind), {k: without_second(v) for k, v in variables.items()}, net, images
    ),
    outcome(model, {k: swapped(v) for k, v in variables.items()}, net, images),
  ]
  if model.kind == "residual":
    expected.append(outcome(model, variables | {"params": silenced(variables["params"])}, net, images))
  for i, (loss, wrong) in enumerate(expected):
    assert results[0][i] == pytest.approx(loss, rel=1e-5), lesions[i]
    assert int(results[1][i]) == int(wrong), lesions[i]
  assert len({float(loss) for loss in results[0]}) == 4 and results[0][4] == results[0][0]


def test_reestimated_statistics_are_those_of_the_shorter_network(images):
  """Sums in another order agree to 1e-4 after five norms."""
  net = random_net("residual")
  parts = segmented_model.SegmentedModel(net.config.model, 10)
  lesions = lesion_plans.arrays([WHOLE, DELETED])
  found = LesionedModel(parts, 16, net.variables, lesions, net.input.statistics).reestimate(images[0])
  shorter = {key: without_second(tree) for key, tree in net.variables.items()}
  arguments = shorter, images[0], net.input.statistics
  expected = evaluate.training_set_statistics(models.build(SHORTER, 10), 16, *arguments)
  deleted = without_second(segmented_model.select_block(found, 1))
  jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5), deleted, expected)


def test_plans_have_the_requested_numbers_of_random_lesions():
  settings = Lesions(counts=(1, 2, 9), trials=2)
  lesions = lesion_plans.draw([3, 4], settings)
  kinds = [lesion.kind for lesion in lesions]
  assert {kind: kinds.count(kind) for kind in study_records.LESIONS} == {
    "none": 1,
    "delete": 7,
    "delete_random": 4,  # the network has fewer than 9 blocks
    "swap": 3,  # (1, 2) with (1, 3); (2, 2) with (2, 3); (2, 3) with (2, 4)
    "reorder": 4,
  }
  assert len({json.dumps(lesion.columns()) for lesion in lesions}) >= len(lesions) - 2  # draws may coincide
  fewer = lesion_plans.draw([3, 4], dataclasses.replace(settings, counts=(2,)))
  assert [lesion for lesion in lesions if lesion.count == 2] == [lesion for lesion in fewer if lesion.count == 2]
  for lesion in lesions:
    line = lesion.columns()
    if lesion.kind == "delete_random":
      assert len(line["blocks"]) == len({tuple(place) for place in line["blocks"]}) == lesion.count
    assert all(order[0] == 1 and sorted(order) == list(range(1, len(order) + 1)) for order in lesion.order)


def test_kendalls_tau_by_hand():
  assert lesion_plans.kendall_tau([(1, 2, 3), (1, 2)]) == 1
  assert lesion_plans.kendall_tau([(1, 3, 2), (1, 2)]) == pytest.approx((3 + 1 - 2) / 4 + 0)
  pairs = list(itertools.combinations((1, 4, 3, 2), 2))
  assert lesion_plans.kendall_tau([(1, 4, 3, 2)]) == sum(1 if a < b else -1 for a, b in pairs) / len(pairs)


def test_the_command_writes_each_lesion_once(tmp_path, capsys):
  """A repeated command evaluates only missing lesions."""
  directory = random_networks.write_digits_run(tmp_path / "residual-A-d8", Model(depth=8))
  few = ["--images=40", "--batch_size=26", "--statistics_images=26", "--trials=1", "--reestimate=no"]
  command = ["lesion", "--workdir", str(tmp_path), *few]
  assert study.main([*command, "--counts=2"]) == 0
  rows = study_records.read(directory)[0]["lesions"]
  assert [row["kind"] for row in rows] == ["none", "delete", "delete", "delete", "delete_random"]
  assert all(row["images"] == 40 and 0 <= row["error"] <= 1 and row["step"] == 0 for row in rows)
  assert [(row["stage"], row["block"]) for row in rows[1:4]] == [(1, 1), (2, 1), (3, 1)]
  out = capsys.readouterr().out
  assert "lesion residual-A-d8  lesion 5/5" in out and "one block deleted" in out
  assert study.main([*command, "--counts=1,2"]) == 0
  logs, _ = study_records.read(directory)
  again = logs["lesions"]
  assert again[:5] == rows and [(row["kind"], row["count"]) for row in again[5:]] == [("delete_random", 1)]
  assert study.main([*command, "--counts=1,2"]) == 0
  made_by = study_records.read(directory)[0]["commands"]
  calls = [f"python -m resjax.study {shlex.join([*command, counts])}" for counts in ("--counts=2", "--counts=1,2")]
  assert made_by == [{"step": 0, "study": "lesion", "command": call} for call in calls]


def test_the_batch_size_is_a_setting_of_reestimated_statistics(tmp_path):
  """The expected losses are those of the network with statistics reestimated in batches of each size."""
  directory = random_networks.write_digits_run(tmp_path / "net", Model(depth=8))
  few = ["--images=40", "--statistics_images=24", "--reestimate=yes", "--counts=", "--trials=0"]
  for size in (8, 12, 12):
    assert study.main(["lesion", "--workdir", str(directory), f"--batch_size={size}", *few]) == 0
  rows = study_records.read(directory)[0]["lesions"]
  assert [(row["kind"], row["batch_size"]) for row in rows] == [
    (kind, size) for size in (8, 12) for kind in ("none", "delete", "delete", "delete")
  ]
  with jax.set_mesh(trained_model.make_mesh(1)):
    net = trained_model.read(directory, None)
    training, tested = net.sample("train", 24)[0], net.sample("test", 40)
    for row in (rows[0], rows[4]):
      size = row["batch_size"]
      found = evaluate.training_set_statistics(net.net, size, net.variables, training, net.statistics)
      variables = {**net.variables, "batch_stats": found}
      loss, wrong = evaluate.evaluate(net.net, size, variables, *tested, net.statistics)
      assert row["loss"] == pytest.approx(float(loss) / 40, rel=1e-4) and row["error"] == int(wrong) / 40
  assert abs(rows[0]["loss"] / rows[4]["loss"] - 1) > 1e-3
  (shown,) = lesions_section.build(analysis.load(directory)).data["lesions"].to_dict("records")
  assert (shown["blocks"], shown["undisturbed"]) == (3, rows[4]["error"])  # of the last batch size


@pytest.mark.parametrize(
  ("arguments", "says"),
  [
    (["lesion", "--images=0"], "images = 0: must be 1 to 2147483647"),
    (["lesion", "--counts=2,x"], "counts = '2,x': must be comma-separated numbers, such as 2,4,8"),
    (["lesion", "--reestimate=maybe"], "reestimate = 'maybe': must be one of no, yes, both"),
    (["lesion"], "no such directory"),
    (
      ["lesion", "--workdir=EMPTY"],
      "contains no run with a checkpoint; train first, or give a work directory that has checkpoints/",
    ),
  ],
)
def test_invalid_arguments_are_a_one_line_error(tmp_path, capsys, arguments, says):
  arguments = [argument.replace("EMPTY", str(tmp_path)) for argument in arguments]
  if not any(argument.startswith("--workdir") for argument in arguments):
    arguments.append(f"--workdir={tmp_path / 'none'}")
  assert study.main(arguments) == 2
  err = capsys.readouterr().err
  assert says in err and err.count("\n") == 1
  assert list(tmp_path.iterdir()) == []


def test_an_unknown_study_is_an_error(capsys):
  with pytest.raises(SystemExit) as ended:
    study.main(["surgery"])
  assert ended.value.code == 2 and "lesion" in capsys.readouterr().err


def test_vgg_is_refused():
  with pytest.raises(ConfigError, match="pooling between them"):
    segmented_model.check(Model(family="vgg", block="single", depth=16))
