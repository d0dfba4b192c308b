"""Density of Hessian eigenvalues and traces against the dense Hessian; the command and its section of the report."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from resjax import analysis, study, study_records
from resjax.analysis import curvature as curvature_analysis
from resjax.analysis.sections import curvature as curvature_section
from resjax.studies import curvature, lanczos, trained_model
from tests import hessian_reference, random_networks, torn_log

SMALL_STUDY = ("--images=40", "--batch_size=40", "--probes=2", "--iterations=5", "--traces=3")
PARTS = ["stem", "stage1", "head"]


@pytest.fixture(scope="module")
def hessian():
  return hessian_reference.hessian()


@pytest.fixture
def hessian_vector_product():
  """Yields the function under test, which multiplies a vector, float [292], by the Hessian."""
  with jax.set_mesh(trained_model.make_mesh(1)):
    yield hessian_reference.surface().hessian_matvec(lambda _: None)


def test_quadrature_has_the_moments_of_the_matrix():
  """They agree to rounding below degree 2k after k iterations; after n iterations the nodes are the eigenvalues."""
  rng = np.random.default_rng(0)
  square = rng.standard_normal((30, 30))
  matrix, vector = square + square.T, rng.standard_normal(30)
  nodes, weights = lanczos.quadrature(lambda v: matrix @ v, vector, 4)
  assert len(nodes) == 4 and weights.sum() == pytest.approx(1)
  for degree in range(8):
    expected = vector @ np.linalg.matrix_power(matrix, degree) @ vector / (vector @ vector)
    assert weights @ nodes**degree == pytest.approx(expected, rel=1e-9)
  assert weights @ nodes**8 != pytest.approx(
    vector @ np.linalg.matrix_power(matrix, 8) @ vector / (vector @ vector), rel=1e-3
  )
  nodes, _ = lanczos.quadrature(lambda v: matrix @ v, vector, 100)
  np.testing.assert_allclose(nodes, np.linalg.eigvalsh(matrix), rtol=1e-9)


def test_quadrature_ends_when_the_krylov_space_is_exhausted():
  nodes, weights = lanczos.quadrature(lambda v: np.array([1.0, 2, 3, 4]) * v, np.array([0, 3.0, 0, 4]), 4)
  assert nodes == pytest.approx([2, 4]) and weights == pytest.approx([0.36, 0.64])


def test_slices_of_the_flat_vector_contain_the_parameters_of_their_parts():
  params = hessian_reference.network().variables["params"]
  numbered = {
    name: {key: jax.tree.map(lambda leaf, i=i: 0 * leaf + i, tree) for key, tree in part.items()}
    for i, (name, part) in enumerate(params.items())
  }
  flat = np.asarray(ravel_pytree(numbered)[0])
  slices = dict(curvature.parameter_slices(params))
  assert list(slices) == PARTS and sum(own.stop - own.start for own in slices.values()) == len(flat) == 292
  for i, name in enumerate(params):
    assert (flat[slices[name]] == i).all()


def test_the_trace_of_each_part_is_that_of_the_dense_block(hessian_vector_product, hessian):
  """Products agree to 1e-4 of the largest entry, the mean over 60 vectors within four standard errors."""
  slices = dict(curvature.parameter_slices(hessian_reference.network().variables["params"]))
  estimates: dict[str, list[float]] = {name: [] for name in slices}
  for probe in range(1, 61):
    vector = curvature.signs(len(hessian), 0, probe)
    product = hessian_vector_product(vector)
    np.testing.assert_allclose(product, hessian @ vector, atol=1e-4 * np.abs(product).max())
    for name, own in slices.items():
      estimates[name].append(vector[own] @ product[own])
  for name, own in slices.items():
    error = np.std(estimates[name], ddof=1) / 60**0.5
    assert abs(np.mean(estimates[name]) - np.trace(hessian[own, own])) < 4 * error, name
    assert error < 0.2 * np.trace(hessian), name


def test_the_density_is_that_of_the_dense_eigenvalues(hessian_vector_product, hessian):
  """Densities smoothed by 1 % of the largest eigenvalue differ in less than 8 % of their mass.

  The estimate is the mean over 10 vectors. The difference is 4 %, and as much with exact quadrature. Three quarters of
  the eigenvalues are near zero.
  """
  values = np.linalg.eigvalsh(hessian)
  vectors = [curvature.signs(len(hessian), 0, probe) for probe in range(1, 11)]
  quadratures = [lanczos.quadrature(hessian_vector_product, vector, 40) for vector in vectors]
  nodes, weights = (np.concatenate(each) for each in zip(*quadratures, strict=True))
  estimated = curvature_analysis.density(nodes, weights / 10)
  assert nodes.max() == pytest.approx(values[-1], rel=1e-3) and nodes.min() == pytest.approx(values[0], rel=1e-3)
  expected = curvature_analysis.density(values, np.full(len(values), 1 / len(values)))
  expected = np.interp(estimated["position"], expected["position"], expected["density"])
  width = np.diff(estimated["position"]).mean()
  assert expected.sum() * width == pytest.approx(1, abs=0.01)
  assert np.abs(estimated["density"] - expected).sum() * width / 2 < 0.08


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
  """Returns the directory of an experiment whose only network has been studied."""
  root = tmp_path_factory.mktemp("studied") / "experiment"
  random_networks.write_digits_run(root / "net", hessian_reference.MODEL)
  assert study.main(["curvature", "--workdir", str(root), *SMALL_STUDY]) == 0
  return root


def test_the_command_writes_one_line_per_vector_and_continues_after_a_kill(studied, capsys):
  logs, torn = study_records.read(studied / "net")
  assert torn == 0 and [row["probe"] for row in logs["spectrum"]] == [1, 2]
  assert [row["part"] for row in logs["trace"]] == PARTS * 3
  assert sum(row["parameters"] for row in logs["trace"][:3]) == logs["spectrum"][0]["parameters"] == 292
  assert all(len(row["values"]) == 5 and sum(row["weights"]) == pytest.approx(1) for row in logs["spectrum"])
  for row in logs["spectrum"]:  # the first moment of a quadrature is the term of the same vector in the trace
    moment = 292 * np.dot(row["values"], row["weights"])
    assert moment == pytest.approx(
      sum(each["trace"] for each in logs["trace"] if each["probe"] == row["probe"]), rel=1e-3
    )
  torn_log.tear(studied / "net" / "studies" / "trace.jsonl", 4, b'{"step": 0, "pr')
  assert study.main(["curvature", "--workdir", str(studied), *SMALL_STUDY]) == 0
  again = study_records.read(studied / "net")[0]
  assert again["trace"] == [{**row, "trace": pytest.approx(row["trace"], rel=1e-5)} for row in logs["trace"]]
  assert again["spectrum"] == logs["spectrum"] and "largest eigenvalue" in capsys.readouterr().out


def test_the_section_has_the_means_of_the_records(studied):
  logs = analysis.load(studied)
  section = curvature_section.build(logs)
  lines = study_records.read(studied / "net")[0]
  totals = [sum(row["trace"] for row in lines["trace"] if row["probe"] == probe) for probe in (1, 2, 3)]
  traces = section.data["hessian_trace"].set_index("part")
  assert traces.loc["all", "trace"] == pytest.approx(np.mean(totals))
  assert traces.loc["all", "error"] == pytest.approx(np.std(totals, ddof=1) / 3**0.5)
  assert traces.loc["all", "parameters"] == 292 and section.commands
  largest = max(max(row["values"]) for row in lines["spectrum"])
  assert (
    f" to {largest:.3g}, and about " in section.findings[0]
    and f"its trace is {np.mean(totals):.3g}" in section.findings[0]
  )
  assert [panel.name for panel in section.panels] == ["hessian-density", "hessian-trace"]
  assert [len(table.rows) for table in section.tables] == [1, 4]


def test_a_trace_without_a_density_is_a_section(tmp_path):
  directory = random_networks.write_digits_run(tmp_path / "net", hessian_reference.MODEL)
  settings = ("--images=20", "--batch_size=20", "--iterations=3", "--traces=1", "--probes=0")
  assert study.main(["curvature", "--workdir", str(directory), *settings]) == 0
  section = curvature_section.build(analysis.load(directory))
  assert [panel.name for panel in section.panels] == ["hessian-trace"]
  assert "±" not in section.tables[0].rows[0][4]  # one vector has no standard error


def test_the_batch_size_is_a_setting_of_batch_statistics(tmp_path):
  """With batches of all 20 images, the numbers are those of a run directory that was studied so only."""
  for name, sizes in (("net", (10, 20, 20)), ("fresh", (20,))):
    random_networks.write_digits_run(tmp_path / name, hessian_reference.MODEL)
    for size in sizes:
      settings = ("--mode=batch", "--images=20", f"--batch_size={size}", "--iterations=3", "--traces=1", "--probes=1")
      assert study.main(["curvature", "--workdir", str(tmp_path / name), *settings]) == 0
  logs, fresh = (study_records.read(tmp_path / name)[0] for name in ("net", "fresh"))
  assert [row["batch_size"] for row in logs["spectrum"]] == [10, 20]
  assert [row["batch_size"] for row in logs["trace"]] == [10] * 3 + [20] * 3
  assert logs["spectrum"][1:] == fresh["spectrum"] and logs["trace"][3:] == fresh["trace"]
  traces = curvature_analysis.traces(analysis.load(tmp_path / "net")).set_index("part")
  assert traces.loc["all", "trace"] == pytest.approx(sum(row["trace"] for row in fresh["trace"]))
  assert traces.loc["all", "vectors"] == 1
