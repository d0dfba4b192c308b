"""Networks deepened by identity blocks: unchanged logits, errors of unsupported networks, and the command."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import models, records, study, study_records
from resjax.config import Config, Execution, Gradients, Model, Responses, Train
from resjax.settings import ConfigError
from resjax.studies import net2deeper, segmented_model
from resjax.train import evaluate, run_files
from tests import random_networks

NET = Model(depth=8, blocks=(2, 1), width=4)


@pytest.fixture(scope="module")
def images():
  return jnp.asarray(np.random.default_rng(1).integers(0, 256, (12, 8, 8, 1), np.uint8))


@pytest.mark.parametrize(
  "changes",
  [
    {"kind": "residual"},
    {"kind": "plain"},
    {"kind": "residual", "preactivation": True, "shortcut": "B"},
  ],
  ids=str,
)
def test_deepening_does_not_change_the_logits(images, changes):
  """To 1e-5 of their size: a plain net's new norms multiply by what they divide by."""
  model = dataclasses.replace(NET, **changes)
  net = random_networks.restored_run(model, 8)
  deeper = net2deeper.model(model, 0)
  assert (deeper.depth, deeper.blocks) == (14, (4, 2))
  fresh = random_networks.restored_run(deeper, 8, seed=1).variables
  moments = net2deeper.stage_moments(
    segmented_model.SegmentedModel(model, 10), 5, net.variables, images, net.input.statistics
  )
  variables = net2deeper.variables(deeper, net.variables, fresh, moments)
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, fresh)
  before, after = (
    np.asarray(evaluate.logits(models.build(each, 10), 5, tree, images, net.input.statistics))
    for each, tree in ((model, net.variables), (deeper, variables))
  )
  assert before.shape == (12, 10)
  np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * max(np.abs(before).max(), 1))


@pytest.mark.parametrize(
  ("net", "depth", "says"),
  [
    (Model(), 20, "must be greater than 20, the depth of the trained network"),
    (Model(), 21, "not 6n"),
    (Model(survival=0.5), 0, "model.survival is 0.5"),
    (Model(branch_scale=0.5), 0, "model.branch_scale is 0.5"),
    (Model(shortcut="C"), 0, "model.shortcut is 'C'; exclude it with --only"),
    (Model(kind="plain", norm="layer"), 0, "'plain' and model.norm is 'layer'"),
    (Model(activation="sigmoid"), 0, "model.activation is 'sigmoid'"),
    (Model(kind="plain", preactivation=True), 0, "'plain' and model.preactivation"),
    (Model(kind="plain", depth=29, block="bottleneck"), 0, "'plain' and model.block is 'bottleneck'"),
  ],
)
def test_networks_that_cannot_be_deepened_are_errors(net, depth, says):
  with pytest.raises(ConfigError, match=says):
    net2deeper.model(net, depth)


def test_by_default_the_number_of_blocks_is_doubled():
  assert net2deeper.model(Model(depth=20), 0).depth == 38
  assert net2deeper.model(Model(family="imagenet", depth=18), 0).blocks == (4, 4, 4, 4)


def test_the_command_trains_the_deepened_network_and_one_from_scratch(tmp_path, capsys):
  """The deepened network starts from the trained one; repeating the command changes nothing."""
  directory = random_networks.write_digits_run(tmp_path / "digits" / "residual-A-d8-s0", NET)
  config = Config(
    model=NET,
    data=random_networks.DIGITS,
    train=Train(steps=20, batch_size=32, learning_rate=0.0),
    responses=Responses(final=False, images=32, batch_size=32),
    gradients=Gradients(steps=(20,)),
    execution=Execution(devices=1),
  )
  with records.RunWriter(directory) as writer:
    writer.write_config(config.to_dict())
    writer.update(experiment="digits", step=20)
  command = ["identity", "--workdir", str(tmp_path / "digits"), "--steps=2", "--images=12", "--batch_size=11"]
  assert study.main(command) == 0
  (row,) = study_records.read(directory)[0]["identity"]
  assert (row["from_depth"], row["depth"], row["images"]) == (8, 14, 12)
  assert row["difference"] < 1e-4 and row["error"] == row["error_before"]
  assert (row["run"], row["scratch"]) == (
    "digits-identity/residual-A-d14-from8-s0",
    "digits-identity/residual-A-d14-s0",
  )
  on, scratch = (records.read_run(tmp_path / row[key]) for key in ("run", "scratch"))
  assert on.run["status"] == scratch.run["status"] == records.DONE and on.run["steps"] == 2
  assert [each["here"] for each in on.run["deviations"] if each["name"] == "initial weights"] == [
    "those of residual-A-d8-s0 at step 0, deepened by identity blocks"
  ]
  ends = [run_files.read(tmp_path / row[key]).variables["params"] for key in ("run", "scratch")]
  old = run_files.read(directory).variables["params"]
  kernels = [tree["stage1"]["block1"]["conv1"]["kernel"] for tree in (old, *ends)]
  assert np.allclose(kernels[0], kernels[1]) and not np.allclose(kernels[0], kernels[2])  # the rate is 0
  before = (tmp_path / row["run"] / "metrics.jsonl").read_bytes()
  assert study.main(command) == 0
  assert (tmp_path / row["run"] / "metrics.jsonl").read_bytes() == before
  assert len(study_records.read(directory)[0]["identity"]) == 1
  assert "8 to 14" in capsys.readouterr().out
  assert study.main([argument.replace("=12", "=24") for argument in command]) == 0
  assert (tmp_path / row["run"] / "metrics.jsonl").read_bytes() == before
  assert [each["images"] for each in study_records.read(directory)[0]["identity"]] == [12, 24]


def test_without_training_only_logits_are_compared(tmp_path, capsys):
  directory = random_networks.write_digits_run(tmp_path / "digits" / "residual-A-d8-s0", NET)
  command = ["identity", "--workdir", str(tmp_path / "digits"), "--train=false", "--depth=20", "--images=12"]
  assert study.main([*command, "--batch_size=11"]) == 2  # this net's stages are its own
  assert "depth" in capsys.readouterr().err
  command.remove("--depth=20")
  for _ in range(2):  # the second time nothing is computed again
    assert study.main(command) == 0
    assert "8 to 14" in capsys.readouterr().out
  (row,) = study_records.read(directory)[0]["identity"]
  assert row["difference"] < 1e-4 and row["error"] == row["error_before"] and row["run"] is row["scratch"] is None
  assert [path.name for path in tmp_path.iterdir()] == ["digits"]
  assert study.main([argument.replace("=12", "=24") for argument in command]) == 0
  added = study_records.read(directory)[0]["identity"][1:]
  assert [each["images"] for each in added] == [24] and (24 * added[0]["error"]) % 1 == pytest.approx(0)
