"""Measures of layers against references in plain NumPy, and the command on small networks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import analysis, models, records, study, study_records
from resjax.analysis.sections import cka as cka_section, layers as layers_section
from resjax.config import Config, Model
from resjax.config.studies import Layers
from resjax.data.augment import normalize
from resjax.settings import ConfigError
from resjax.studies import cka, layer_features, layer_measures, layers, segmented_model
from tests import random_networks

NET = Model(depth=14, blocks=(3, 2, 1), width=4)
SMALL_STUDY = ("--images=60", "--batch_size=40", "--cka_images=30")


@pytest.fixture(scope="module")
def clusters():
  """Features and labels of three classes with overlap, for fitting and for testing."""
  rng = np.random.default_rng(0)
  means = rng.normal(0, 2, (3, 5))
  labels = np.arange(90) % 3
  return [(means[labels] + rng.normal(0, 1.5, (90, 5)), labels) for _ in range(2)]


def test_separation_is_the_trace_within_the_span_of_the_class_means(clusters):
  """With three classes, S_b has rank 2; in one dimension the separation is a ratio of variances."""
  features, labels = clusters[0]
  means = np.array([features[labels == label].mean(0) for label in range(3)])
  within = sum(np.cov(features[labels == label].T, bias=True) for label in range(3)) / 3
  values, vectors = np.linalg.eigh(np.cov(means.T, bias=True))
  expected = sum(vectors[:, i] @ within @ vectors[:, i] / values[i] for i in (-1, -2))
  assert layer_measures.separation(features, labels) == pytest.approx(expected, rel=1e-9)
  line = np.array([0.0, 2, 7, 9])[:, None]
  assert layer_measures.separation(line, np.array([0, 0, 1, 1])) == pytest.approx(1 / 3.5**2)
  assert np.isnan(layer_measures.separation(np.ones((4, 3)), np.array([0, 0, 1, 1])))


def test_errors_of_probes_are_those_of_their_definitions(clusters):
  (features, labels), (tested, right) = clusters
  means = [features[labels == label].mean(0) for label in range(3)]
  nearest = [min(range(3), key=lambda label: np.linalg.norm(image - means[label])) for image in tested]
  assert layer_measures.nearest_mean_error(*clusters) == np.mean(nearest != right) > 0
  mean, std = features.mean(0), features.std(0)
  x, y = (features - mean) / std, np.eye(3)[labels]
  weights = np.linalg.inv(x.T @ x / 90 + 0.01 * np.eye(5)) @ x.T @ (y - y.mean(0)) / 90
  answers = ((tested - mean) / std @ weights + y.mean(0)).argmax(1)
  assert layer_measures.ridge_error(*clusters) == np.mean(answers != right) > 0
  dead = np.ones((90, 5)), labels
  assert layer_measures.ridge_error(dead, dead) == layer_measures.nearest_mean_error(dead, dead) == pytest.approx(2 / 3)


def test_error_and_loss_of_logits_by_hand():
  logits, labels = np.array([[1.0, 3.0], [1000.0, 0.0]]), np.array([0, 0])
  error, loss = layer_measures.logits_error_and_loss(logits, labels)
  assert error == 0.5 and loss == pytest.approx((np.log(1 + np.exp(2)) + 0) / 2)


def test_lengths_and_directions_of_steps_by_hand():
  start, way = np.zeros((3, 2)), np.array([[4.0, 0], [0, 8], [0, 0]])  # the last image does not move
  assert layer_measures.steps([start, way / 4, way]) == [pytest.approx((0.25, 1)), pytest.approx((0.75, 1))]
  assert layer_measures.steps([start, -way, way]) == [pytest.approx((1, -1)), pytest.approx((2, 1))]
  assert np.isnan(layer_measures.steps([start, start])).all()


def reference_hsic(x, y):
  """The U-statistic over all four distinct images, which has no bias (Song et al. 2012, Eq. 3)."""
  k, m = x @ x.T, y @ y.T
  return np.mean(
    [
      k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])  # all orders of the four are in the mean
      for i, j, q, r in itertools.permutations(range(len(x)), 4)
    ]
  )


def test_hsic_is_the_u_statistic_over_four_images(monkeypatch):
  """There are more layers than are kept in memory at once."""
  monkeypatch.setattr(cka, "LAYERS_PER_CHUNK", 2)
  rng = np.random.default_rng(1)
  a, b = ([rng.normal(1, 2, (7, width)) for width in widths] for widths in ((3, 2, 5), (4, 1, 2)))
  expected = [[reference_hsic(x, y) for y in b] for x in a]
  np.testing.assert_allclose(cka.hsic(a, b), expected, rtol=1e-9, atol=1e-9)


def test_cka_is_the_ratio_of_means_over_minibatches():
  rng = np.random.default_rng(2)
  x = rng.normal(size=(13, 3))
  y = x[:, :2] + rng.normal(size=(13, 2))
  parts = slice(0, 7), slice(7, 13)  # about six images each
  xy, xx, yy = (sum(reference_hsic(p[s], q[s]) for s in parts) for p, q in ((x, y), (x, x), (y, y)))
  assert cka.cka([x], [y], 6)[0, 0] == pytest.approx(xy / np.sqrt(xx * yy))


def test_cka_is_one_for_equal_layers_and_invariant_to_rotation_scale_and_shift():
  rng = np.random.default_rng(3)
  x = rng.normal(size=(200, 16)) * np.geomspace(1, 30, 16)
  y = np.tanh(x[:, 8:]) + rng.normal(size=(200, 8))
  rotation, _ = np.linalg.qr(rng.normal(size=(16, 16)))
  before = cka.cka([x, y], [x, y], 100)
  assert np.diagonal(before) == pytest.approx([1, 1], abs=1e-12) and 0.05 < before[0, 1] < 0.9
  after = cka.cka([1e3 * x @ rotation + 1e4, y], [x, 1e-3 * y], 100)
  np.testing.assert_allclose(after, before, atol=1e-5)
  assert abs(cka.cka([x], [rng.normal(size=(200, 4))], 100)[0, 0]) < 0.1  # no bias: of the plain estimate it is 0.2
  assert np.isnan(cka.cka([np.ones((200, 3)), x], [x], 100)[:, 0]).tolist() == [True, False]


def test_tiles_are_means_of_neighboring_entries():
  matrix = np.arange(20.0).reshape(4, 5)
  assert cka.tile_means(matrix, 1, 1).tolist() == matrix.tolist()
  assert cka.tile_means(matrix, 3, 2).tolist() == [
    [matrix[:3, :2].mean(), matrix[:3, 2:4].mean(), matrix[:3, 4].mean()],
    [matrix[3, :2].mean(), matrix[3, 2:4].mean(), matrix[3, 4]],
  ]


PREACTIVATED = Model("mlp", kind="plain", depth=8, block="dense", width=6, preactivation=True)


@pytest.mark.parametrize("model", [NET, PREACTIVATED], ids=["residual", "plain MLP, pre-activation"])
def test_features_are_global_averages_of_the_outputs_of_blocks(model):
  """The logits of the head after the last block are those of the network."""
  net = random_networks.restored_run(model, 8)
  images = jnp.asarray(np.random.default_rng(1).integers(0, 256, (6, 8, 8, 1), np.uint8))
  segmented = segmented_model.SegmentedModel(model, 10)
  found = layer_features.capture(segmented, 4, net.variables, images, net.input.statistics)
  x = normalize(images, net.input.statistics)
  expected = jax.jit(lambda x: models.build(model, 10).apply(net.variables, x, train=False))(x)
  np.testing.assert_allclose(found.logits[-1], expected, rtol=1e-4, atol=1e-4)
  assert len(found.logits) == list(segmented.stages.values())[-1]
  x, _ = segmented.stem(net.variables, x, train=False)
  outputs, places = [x], [(0, 0)]
  for number, (stage, blocks) in enumerate(segmented.stages.items(), 1):
    own = segmented_model.part(net.variables, stage)
    for block in range(blocks):
      of_block = segmented_model.part(own, "block1")
      if block:
        of_block = segmented_model.select_block(segmented_model.part(own, "rest"), block - 1)
      x, _ = segmented.block(stage, block == 0, of_block, x, train=False)
      outputs.append(x)
      places.append((number, block + 1))
  assert found.positions == places
  for pooled, output in zip(found.pooled, outputs, strict=True):
    np.testing.assert_allclose(pooled, np.asarray(output).mean((1, 2)), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
  """Returns the directory of a residual and a plain network that are studied and compared with the residual one."""
  root = tmp_path_factory.mktemp("studied") / "experiment"
  plain = Model(depth=14, blocks=(3, 2, 1), width=4, kind="plain")
  for name, model in (("residual-A-d14", NET), ("plain-d14", plain)):
    random_networks.write_digits_run(root / name, model)
  other = f"--other={root / 'residual-A-d14'}"
  assert study.main(["layers", "--workdir", str(root), *SMALL_STUDY, other]) == 0
  return root


def test_the_command_writes_one_line_per_block_and_per_row_of_tiles(studied, capsys):
  logs, torn = study_records.read(studied / "plain-d14")
  rows = logs["layers"]
  assert torn == 0 and [row["position"] for row in rows] == list(range(7))
  assert [(row["stage"], row["block"]) for row in rows[:5]] == [(None, None), (1, 1), (1, 2), (1, 3), (2, 1)]
  assert [row["channels"] for row in rows] == [4, 4, 4, 4, 8, 8, 16]
  assert all(row["separation"] > 0 and 0 <= row["ridge_error"] <= 1 for row in rows)
  # The last stage has one block, the second two, one step; the first keeps its input's channels and has three steps.
  assert [row["head_error"] is None for row in rows] == [True] * 6 + [False]
  assert [row["alignment"] is None for row in rows] == [True, False, False, False, True, True, True]
  own, cross = ([row for row in logs["cka"] if row["other"] == other] for other in (None, "residual-A-d14"))
  assert [row["first"] for row in own] == [row["first"] for row in cross] == list(range(7))
  matrix = np.array([row["values"] for row in own])
  assert np.allclose(matrix, matrix.T) and np.diagonal(matrix).tolist() == [1] * 7
  assert np.diagonal(matrix, 1) == pytest.approx([row["cka_previous"] for row in rows[1:]], abs=1e-4)
  assert len(study_records.read(studied / "residual-A-d14")[0]["cka"]) == 7  # not compared with itself once more
  assert study.main(["layers", "--workdir", str(studied), *SMALL_STUDY]) == 0
  assert "correlation of log D" in capsys.readouterr().out
  assert study_records.read(studied / "plain-d14")[0]["layers"] == rows


def test_other_settings_append_further_lines(studied):
  before = study_records.read(studied / "plain-d14")[0]
  command = ["layers", "--workdir", str(studied / "plain-d14"), "--every=3", "--tiles=2", *SMALL_STUDY]
  assert study.main(command) == 0
  after = study_records.read(studied / "plain-d14")[0]
  assert after["layers"][:7] == before["layers"] and len(after["layers"]) == 14
  added = after["cka"][len(before["cka"]) :]
  assert [(row["first"], row["tile"], len(row["values"])) for row in added] == [(0, 4, 2), (4, 4, 2)]
  assert {row["every"] for row in added} == {3}


def test_a_matrix_is_that_of_the_other_network_and_its_tiles(tmp_path):
  """Networks of two experiments have the same id, and with fewer tiles only the deeper network is averaged."""
  own = random_networks.write_digits_run(tmp_path / "own", Model(depth=8, blocks=(3,), width=2))
  others = [
    random_networks.write_run(tmp_path / name / "same", NET, random_networks.DIGITS, 8, 10, seed=seed, channels=1)
    for name, seed in (("first", 0), ("second", 1))
  ]

  def matrix(other, tiles):
    before = study_records.read(own)[0]["cka"]
    command = ["layers", "--workdir", str(own), f"--other={other}", f"--tiles={tiles}", *SMALL_STUDY]
    assert study.main(command) == 0
    rows = study_records.read(own)[0]["cka"][len(before) :]
    return np.array([row["values"] for row in rows if row["other"]]), [row["first"] for row in rows if not row["other"]]

  first, diagonal = matrix(others[0], 120)
  assert first.shape == (4, 7) and diagonal == [0, 1, 2, 3]
  second, diagonal = matrix(others[1], 120)
  assert second.shape == (4, 7) and diagonal == [] and np.abs(first - second).max() > 1e-2
  averaged, diagonal = matrix(others[1], 4)
  pairs = [second[:, :2].mean(1), second[:, 2:4].mean(1), second[:, 4:6].mean(1), second[:, 6]]
  assert diagonal == [] and averaged == pytest.approx(np.stack(pairs, 1), abs=1e-4)  # of rounded values
  assert all(len(matrix(other, 120)[0]) == 0 for other in others)
  data = cka_section.build(analysis.load(own)).data["cka"]
  assert data[["rows", "columns"]].values.tolist() == [[4, 4], [4, 4]]  # itself, and the last matrix with `same`


def test_the_section_tells_whether_the_separation_law_holds(studied):
  logs = analysis.load(studied)
  section = layers_section.build(logs)
  law = section.data["separation_law"].set_index("net")
  rows = study_records.read(studied / "plain-d14")[0]["layers"][:7]
  logarithms = np.log([row["separation"] for row in rows])
  assert law.loc["plain-d14", "correlation"] == pytest.approx(np.corrcoef(range(7), logarithms)[0, 1])
  assert law.loc["plain-d14", "fall"] == pytest.approx(logarithms[0] - logarithms[-1])
  assert section.findings[0].startswith("The separation law, log D falling linearly with the block, does not hold in")
  assert "After the last block, a linear probe has a test error of" in section.findings[-1] and section.commands
  assert [panel.name for panel in cka_section.build(logs).panels] == [
    *("cka-plain-d14", "cka-plain-d14-residual-A-d14", "cka-residual-A-d14"),
  ]


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (["--other=nowhere"], "resjax.study layers: other = 'nowhere': must be a run directory, but contains no run.json"),
    (["--images=3"], "images = 3: must be 20 to"),
    (["--cka_images=3"], "cka_images = 3: must be 4 to"),
    (["--every=-1"], "every = -1: must be 0 to"),
    (["--tiles=0"], "tiles = 0: must be 1 to"),
  ],
)
def test_invalid_settings_are_a_one_line_error(studied, capsys, change, said):
  assert study.main(["layers", "--workdir", str(studied), *change]) == 2
  error = capsys.readouterr().err
  assert said in error and error.count("\n") == 1


def test_networks_that_cannot_be_compared_are_refused(studied, tmp_path, capsys):
  vgg = Config(model=Model("vgg", "plain", 16, block="single", norm="none"))
  with pytest.raises(ConfigError, match=r"cannot be studied one by one.*; exclude it with --only"):
    layers.check(vgg, Layers())
  empty = tmp_path / "empty"
  with records.RunWriter(empty) as writer:
    writer.update(id="empty")
  assert study.main(["layers", "--workdir", str(studied), f"--other={empty}"]) == 2
  assert f"other = '{empty}': has no checkpoint; choose a run directory with one\n" in capsys.readouterr().err
  with records.RunWriter(empty) as writer:
    writer.write_config(vgg.to_dict())
  (empty / "checkpoints" / "1").mkdir(parents=True)
  assert study.main(["layers", "--workdir", str(studied), f"--other={empty}"]) == 2
  error = capsys.readouterr().err
  assert f"other = '{empty}': model.family = 'vgg': " in error and error.endswith("; choose another network\n")
  larger = random_networks.write_digits_run(tmp_path / "larger", PREACTIVATED, side=16)
  assert study.main(["layers", "--workdir", str(studied), *SMALL_STUDY, f"--other={larger}"]) == 2
  assert "must take images of shape (8, 8, 1), not (16, 16, 1)" in capsys.readouterr().err
