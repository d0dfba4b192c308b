"""Networks at initialization: signal and gradients against plain differentiation, and against theory."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import analysis, records, study, study_records
from resjax.analysis import initialization as theory
from resjax.analysis.sections import initialization as section
from resjax.config import Model
from resjax.data.augment import normalize
from resjax.studies import initial_gradients, segmented_model
from tests import random_networks

EXPERIMENT = '''"""How do signal and gradients look before training?"""
from resjax import config
from resjax.sweep import axis, chain, product


def get_config(variant=""):
  c = config.digits()
  c.model.family, c.model.block, c.model.depth = "mlp", "dense", 44
  return c


def sweep(variant=""):
  deep = product(axis("model.kind", ("plain",)), axis("model.depth", (1202,)), axis("model.width", (16,)))
  return chain(product(axis("seed", range(3)), axis("model.kind", ("plain", "residual"))), deep)
'''


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
  path = tmp_path_factory.mktemp("experiments") / "before.py"
  path.write_text(EXPERIMENT)
  return path


@pytest.fixture(scope="module")
def workdir(experiment, tmp_path_factory):
  """The study of plain dense networks of 44 layers, three draws, and of one of 1202 layers."""
  folder = tmp_path_factory.mktemp("runs")
  command = ["init", "--config", str(experiment), "--only", "kind=plain", "--workdir", str(folder)]
  assert study.main(command) == 0
  return folder


@pytest.mark.parametrize(
  "model",
  [Model(depth=8, blocks=(2, 1), width=4), Model("mlp", kind="plain", depth=8, block="dense", width=6, norm="none")],
)
def test_gradients_are_those_of_the_whole_network(model):
  """By the input of each block, differentiated in one piece; to 1e-4, and the cosine pair by pair."""
  net = random_networks.restored_run(model, 8)
  images = jnp.asarray(np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1), np.uint8))
  segmented = segmented_model.SegmentedModel(model, 10)
  variables, statistics = net.variables, net.input.statistics
  logs, cosines = initial_gradients.block_gradients(segmented, variables, images, statistics, 3)
  projection = jax.random.normal(jax.random.key(3), (10,)) / np.sqrt(10)
  blocks = [(stage, i) for stage, count in segmented.stages.items() for i in range(count)]
  assert len(logs) == len(cosines) == len(blocks) == 3

  def value(added):
    x, _ = segmented.stem(variables, normalize(images, statistics), train=True)
    for (stage, i), change in zip(blocks, added, strict=True):
      own = segmented_model.part(variables, stage, "rest" if i else "block1")
      own = segmented_model.select_block(own, i - 1) if i else own
      x, _ = segmented.block(stage, i == 0, own, x + change, train=True)
    return (segmented.head(variables, x, train=True)[0] @ projection).sum()

  def inputs():
    x, _ = segmented.stem(variables, normalize(images, statistics), train=True)
    for stage, i in blocks:
      yield jnp.zeros_like(x)
      own = segmented_model.part(variables, stage, "rest" if i else "block1")
      x, _ = segmented.block(stage, i == 0, segmented_model.select_block(own, i - 1) if i else own, x, train=True)

  gradients = jax.jit(jax.grad(value))(jax.jit(lambda: list(inputs()))())
  for log, cosine, gradient in zip(logs, cosines, gradients, strict=True):
    flat = np.asarray(gradient, np.float64).reshape(5, -1)
    norms = np.linalg.norm(flat, axis=1)
    assert np.exp(log) == pytest.approx(np.sqrt(np.mean(norms**2)), rel=1e-4)
    pairs = [flat[i] @ flat[j] / norms[i] / norms[j] for i in range(5) for j in range(5) if i != j]
    assert cosine == pytest.approx(np.mean(pairs), abs=1e-4)


def test_plain_networks_with_batch_norm_grow_their_gradients_as_theory_says(workdir):
  """By pi / (pi - 1) = 1.4669 per layer, to 3 % in the mean of the draws, and to 5 % in each."""
  logs = analysis.load(workdir / "before")
  lines = theory.init_lines(logs)
  found = {
    run: theory.measure(theory.GRADIENT, own)[0] for run, own in lines.groupby("id") if own["depth"].iloc[0] == 44
  }
  assert f"{theory.GROWTH:.4f}" == "1.4669" and len(found) == 3
  assert list(found.values()) == pytest.approx([theory.GROWTH] * 3, rel=0.05)
  assert np.mean(list(found.values())) == pytest.approx(theory.GROWTH, rel=0.03)


def test_1202_layers_leave_no_float32_behind(workdir):
  rows = study_records.read(workdir / "before" / "plain-d1202-width_16-s0")[0]["init"]
  assert len(rows) == 600 and [row["layers_above"] for row in rows] == list(range(1200, 0, -2))
  norms = np.array([row["gradient_norm"] for row in rows])
  assert np.isfinite(norms).all() and norms[0] / norms[-1] > 1e50  # the largest float32 is 3e38
  assert all(row["input_variance"] > 0 and row["branch_variance"] > 0 for row in rows)


def test_directories_are_those_of_pending_runs_and_known_lines_stay(workdir, experiment, capsys):
  directory = workdir / "before" / "plain-d44-s1"
  run = records.read_run(directory)
  assert run.run["status"] == records.PENDING and run.config["model"]["depth"] == 44
  before = study_records.read(directory)[0]
  # After batch norm, at the end of a branch, each channel has mean 0 and variance 1.
  assert [row["branch_variance"] for row in before["init"]] == pytest.approx([1] * 21, abs=1e-3)
  assert [row["branch_squared_mean"] for row in before["init"]] == pytest.approx([0] * 21, abs=1e-6)
  command = ["init", "--config", str(experiment), "--only", "kind=plain seed=1", "--workdir", str(workdir)]
  assert study.main(command) == 0
  again = study_records.read(directory)[0]
  assert again["init"] == before["init"] and len(again["commands"]) == 2
  assert "gradient norm at first block" in capsys.readouterr().out
  other = [*command, "--images=40", "--seed=1"]
  assert study.main(other) == 0
  assert len(study_records.read(directory)[0]["init"]) == 42


def test_the_report_compares_measurements_with_theory(workdir):
  built = section.build(analysis.load(workdir / "before"))
  rows = built.data["init_theory"].set_index("net")
  assert rows.loc["plain-d44", "runs"] == 3 and rows.loc["plain-d44", "theory"] == theory.GROWTH
  assert rows.loc["plain-d44", "low"] < rows.loc["plain-d44", "measured"] < rows.loc["plain-d44", "high"]
  assert built.findings[0].startswith("plain-44: the squared gradient norm grows per layer, towards the input, by the")
  assert "theory predicts π/(π − 1) = 1.467; they agree to within 3 % (difference" in built.findings[0]
  assert {panel.name for panel in built.panels} >= {"init-gradient-norm", "init-gradient-cosine"}


SHORTCUT_FACTORS = {"A": (1, 1), "half": (0.5, 1), "mean": (0.5, 0.5), "dropout": (0.5, 1)}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("shortcut", SHORTCUT_FACTORS)
def test_theory_of_a_shortcut_is_that_of_random_weights_with_independent_relus(shortcut, layers):
  """The cosine of two images' gradients, equal at first, after one backward pass; 3000 channels give it to 3 %."""
  rng, channels = np.random.default_rng(0), 3000
  of_shortcut, of_branch = SHORTCUT_FACTORS[shortcut]
  gradients = branch = np.tile(rng.standard_normal(channels, np.float32), (2, 1))
  for _ in range(layers):
    weights = rng.standard_normal((channels, channels), np.float32) * (2 / channels) ** 0.5
    branch = branch @ weights * rng.integers(0, 2, branch.shape)
  one, other = of_shortcut * gradients + of_branch * branch
  cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
  settings = {"model.kind": "residual", "model.norm": "none", "model.preactivation": True, "model.shortcut": shortcut}
  (prediction,) = theory.predictions(settings, layers)
  assert prediction.quantity == theory.COSINE and prediction.theory == pytest.approx(cosine, rel=0.03)


@pytest.mark.parametrize(
  "other",
  [
    *({"model.shortcut": name} for name in ("C", "rezero", "skipinit", "fixup", "gated", "gate", "exclusive_gate")),
    *({"model.norm": "batch", "model.shortcut": name} for name in ("half", "mean", "dropout")),
    {"model.norm": "layer"},
    {"model.norm": "layer", "model.kind": "plain"},
    {"model.preactivation": False},
    {"model.preactivation": False, "model.norm": "batch"},
  ],
  ids=str,
)
def test_networks_outside_of_the_theory_have_no_prediction(other):
  known = {"model.kind": "residual", "model.norm": "none", "model.preactivation": True, "model.shortcut": "A"}
  assert len(theory.predictions(known, 2)) == 1 and theory.predictions({**known, **other}, 2) == []


def test_fits_find_what_was_put_in(tmp_path):
  """Pre-activation networks whose lines follow the theory exactly: two shortcuts without norms, and batch norm."""
  factors = {"residual-A-d9": 0.625, "residual-half-d10": 0.4, "residual-A-d11": 0.7}
  for net, settings in (
    ("residual-A-d9", {"norm": "none"}),
    ("residual-half-d10", {"norm": "none", "shortcut": "half"}),
    ("residual-A-d11", {"norm": "batch"}),
  ):
    with records.RunWriter(tmp_path / f"{net}-s0") as writer:
      kind, shortcut, depth = net.split("-")
      writer.update(id=f"{net}-s0", status=records.PENDING, kind=kind, depth=int(depth[1:]), shortcut=shortcut, seed=0)
      writer.write_config({"model": {"kind": "residual", "activation": "relu", "preactivation": True, **settings}})
    rows = [
      {
        **{"step": 0, "images": 8, "seed": 0, "position": block, "stage": 1, "block": block},
        **{"layers_above": 2 * (7 - block), "gradient_norm": 1.0, "input_variance": 1.0 + 0.5 * block},
        "gradient_cosine": factors[net] ** (6 - block),
      }
      for block in range(1, 7)
    ]
    with study_records.writer(tmp_path / f"{net}-s0") as writer:
      writer.append("init", rows)
  found = theory.compare_with_theory(analysis.load(tmp_path))
  assert list(found["quantity"]) == [theory.COSINE, theory.COSINE, theory.VARIANCE]
  assert list(found["measured"]) == pytest.approx([0.625, 0.4, 1.0])
  assert list(found["measured"]) == pytest.approx(list(found["theory"]))
  lines = theory.init_lines(analysis.load(tmp_path))
  for _, row in found[found["quantity"] != theory.VARIANCE].iterrows():
    run = lines[lines["net"] == row["net"]]
    curve = theory.theory_curve(row["quantity"], row["theory"], run)
    assert curve == pytest.approx([float(cosine) for cosine in run["gradient_cosine"]])
  built = section.build(analysis.load(tmp_path))
  assert all("; they agree to within 3 % (" in sentence for sentence in built.findings) and len(built.findings) == 3


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (["--images=1"], "images = 1: must be 2 to"),
    (["--config.model.depht=8"], "unknown key 'model.depht'; did you mean model.depth or"),
    (["--config.model.depth=x"], "model.depth = 'x': must be an integer"),
    (["--config.model.norm=batch_norm"], "model.norm = 'batch_norm': must be one of batch, none"),
    (
      ["--config.model.family=vgg", "--config.model.block=single", "--config.model.depth=16", "--only", "kind=plain"],
      "cannot be studied one by one",
    ),
    (["--only", "kind=none"], "matches no run"),
  ],
)
def test_wrong_arguments_are_one_line_and_nothing_is_written(experiment, tmp_path, capsys, change, said):
  assert study.main(["init", "--config", str(experiment), "--workdir", str(tmp_path / "none"), *change]) == 2
  error = capsys.readouterr().err
  assert said in error and error.count("\n") == 1 and not (tmp_path / "none").exists()


def test_settings_of_the_experiment_can_be_replaced(experiment, tmp_path, capsys):
  only = ["--only", "kind=plain seed=1 depth=8", "--images=16"]
  replaced = ["--config.model.depth=8", "--config.model.width=4"]
  assert study.main(["init", "--config", str(experiment), "--workdir", str(tmp_path), *only, *replaced]) == 0
  (directory,) = records.find_runs(tmp_path)
  assert json.loads((directory / "config.json").read_text())["model"]["width"] == 4
