"""The path of training: its principal plane against scikit-learn, and the command on three checkpoints."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from resjax import analysis, study, study_records
from resjax.analysis.sections import trajectory as trajectory_section
from resjax.config import Checkpoint, Config, Train
from resjax.records import RunWriter
from resjax.studies import trajectory
from resjax.train import state
from resjax.train.checkpoints import Checkpoints
from tests import random_networks, torn_log
from tests.hessian_reference import MODEL

SMALL_STUDY = ("--images=64", "--batch_size=32", "--points=3")


def test_the_plane_is_that_of_the_first_two_principal_components():
  rng = np.random.default_rng(0)
  path = (rng.standard_normal((7, 3)) * [5, 2, 0.5] @ rng.standard_normal((3, 40))).cumsum(0).astype(np.float32)
  found, expected = trajectory.plane(path), PCA(3).fit(path)
  assert found.shares == pytest.approx(expected.explained_variance_ratio_[:2], rel=1e-5)
  np.testing.assert_allclose(np.abs(np.sum(found.directions * expected.components_[:2], axis=1)), 1, rtol=1e-5)
  np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(2), atol=1e-6)
  assert found.coordinates[-1].tolist() == [0, 0] and found.distances[-1] == found.outside[-1] == 0
  np.testing.assert_allclose(found.distances**2, (found.coordinates**2).sum(1) + found.outside**2, rtol=1e-4, atol=1e-4)
  assert found.distances[0] == pytest.approx(np.linalg.norm(path[0] - path[-1]), rel=1e-5)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
  """Returns the directory of a studied run with checkpoints of steps 1 and 2, whose parameters are random."""
  directory = random_networks.write_digits_run(tmp_path_factory.mktemp("run") / "net", MODEL)
  config = Config(model=MODEL, data=random_networks.DIGITS, checkpoint=Checkpoint(keep=3))
  with Checkpoints(directory / "checkpoints", config) as checkpoints:
    for step in (1, 2):
      other = state.initial(MODEL, Train(), 10, (8, 8, 1), step)
      checkpoints.save(dataclasses.replace(other, step=jnp.int32(step)))
    checkpoints.delete(0)
  with RunWriter(directory) as writer:
    writer.update(status="running", params_digest=None)
  assert study.main(["trajectory", "--workdir", str(directory), *SMALL_STUDY]) == 0
  return directory


def test_three_checkpoints_have_the_losses_of_their_projections(studied):
  """Three points lie in a plane; one of them is the recomputed initialization."""
  rows = study_records.read(studied)[0]["trajectory"]
  assert [row["at"] for row in rows] == [0, 1, 2] and {row["step"] for row in rows} == {2}
  assert rows[0]["first_share"] + rows[0]["second_share"] == pytest.approx(1)
  for row in rows:
    assert row["plane_loss"] == pytest.approx(row["loss"], rel=1e-4) and row["plane_error"] == row["error"]
    assert row["plane_distance"] < 1e-4 * rows[0]["distance"]
  assert len({row["loss"] for row in rows}) == 3 and rows[2]["distance"] == 0
  first, last = (state.initial(MODEL, Train(), 10, (8, 8, 1), seed).params for seed in (0, 2))
  squares = jax.tree.map(lambda one, other: jnp.square(one - other).sum(), first, last)
  assert rows[0]["distance"] == pytest.approx(float(sum(jax.tree.leaves(squares))) ** 0.5, rel=1e-4)


def test_the_grid_surrounds_the_path_and_is_continued_after_a_kill(studied):
  rows, grid = (study_records.read(studied)[0][log] for log in ("trajectory", "trajectory_surface"))
  for axis in ("alpha", "beta"):
    ticks = sorted({row[axis] for row in grid})
    low, high = (edge(row[axis] for row in rows) for edge in (min, max))
    assert ticks == pytest.approx([low - 0.2 * (high - low), (low + high) / 2, high + 0.2 * (high - low)], rel=1e-4)
  torn_log.tear(studied / "studies" / "trajectory_surface.jsonl", 4, b'{"step": 2, "al')
  assert study.main(["trajectory", "--workdir", str(studied), *SMALL_STUDY]) == 0
  again, torn = study_records.read(studied)
  assert torn == 0 and again["trajectory"] == rows
  assert again["trajectory_surface"] == [{**row, "loss": pytest.approx(row["loss"], rel=1e-5)} for row in grid]


def test_the_section_gives_the_share_of_variance_in_the_plane(studied):
  section = trajectory_section.build(analysis.load(studied))
  assert section.findings[0].startswith(
    "ResNet-8 net: two components hold 100 % of the variance of 3 checkpoints; the loss"
  )
  assert [panel.name for panel in section.panels] == ["trajectory-net", "trajectory-loss-net"]
  assert section.commands and len(section.tables[0].rows) == 1
  assert len(section.data["trajectory_surface"]) == 9


def test_too_few_checkpoints_are_a_one_line_error(tmp_path, capsys):
  directory = random_networks.write_digits_run(tmp_path / "net", MODEL)
  assert study.main(["trajectory", "--workdir", str(directory), *SMALL_STUDY]) == 2
  error = capsys.readouterr().err
  assert "a plane needs two after step 0; train with --config.checkpoint.every=1" in error
  assert error.count("\n") == 1 and study_records.read(directory)[0]["trajectory"] == []
