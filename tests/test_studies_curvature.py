"""Hessian density and trace against the dense Hessian, and the command with its section of the report."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from resjax import analysis, models, study, study_records
from resjax.analysis import curvature as curvature_analysis
from resjax.analysis.sections import curvature as curvature_section
from resjax.config import Data, Model
from resjax.studies import curvature, lanczos, loss_surface, trained_model
from tests import dense_hessian, random_networks

DIGITS = Data(name="digits", pad=1, mirror=False)
NET = Model(depth=8, blocks=(3,), width=2)  # 292 parameters, two of its three blocks stacked
FEW = ("--images=40", "--batch_size=40", "--probes=2", "--iterations=5", "--traces=3")
PARTS = ["stem", "stage1", "head"]


@pytest.fixture(scope="module")
def net():
  return random_networks.net(NET, 8)


@pytest.fixture(scope="module")
def arrays(net):
  rng = np.random.default_rng(1)
  images, labels = rng.integers(0, 256, (12, 8, 8, 1), np.uint8), np.arange(12) % 10
  return jnp.asarray(images), jnp.asarray(labels), net.input.statistics


@pytest.fixture(scope="module")
def dense(net, arrays):
  return dense_hessian.dense(NET, net, *arrays[:2])


@pytest.fixture
def times(net, arrays):
  surface = loss_surface.LossSurface(models.build(NET, 10), 8, "running", net.variables, *arrays)
  with jax.set_mesh(trained_model.make_mesh(1)):
    yield surface.hessian(lambda _: None)


def test_quadrature_has_the_moments_of_the_matrix():
  """Of degree below twice the iterations, to rounding; after as many iterations as rows, nodes are eigenvalues."""
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


def test_quadrature_ends_where_the_products_of_the_vector_do():
  nodes, weights = lanczos.quadrature(lambda v: np.array([1.0, 2, 3, 4]) * v, np.array([0, 3.0, 0, 4]), 4)
  assert nodes == pytest.approx([2, 4]) and weights == pytest.approx([0.36, 0.64])


def test_parts_are_where_the_parameters_are(net):
  """A part alone, multiplied by its own number, is found at its place in the flat vector."""
  params = net.variables["params"]
  numbered = {
    name: {key: jax.tree.map(lambda leaf, i=i: 0 * leaf + i, tree) for key, tree in part.items()}
    for i, (name, part) in enumerate(params.items())
  }
  flat = np.asarray(ravel_pytree(numbered)[0])
  found = dict(curvature.parts(params))
  assert list(found) == PARTS and sum(at.stop - at.start for at in found.values()) == len(flat) == 292
  for i, name in enumerate(params):
    assert (flat[found[name]] == i).all()


def test_the_trace_of_each_part_is_that_of_the_dense_block(net, times, dense):
  """Each product to 1e-4 of the largest; the mean over 60 vectors within four standard errors."""
  named = dict(curvature.parts(net.variables["params"]))
  found: dict[str, list[float]] = {name: [] for name in named}
  for probe in range(1, 61):
    vector = curvature.signs(len(dense), 0, probe)
    product = times(vector)
    np.testing.assert_allclose(product, dense @ vector, atol=1e-4 * np.abs(product).max())
    for name, at in named.items():
      found[name].append(vector[at] @ product[at])
  for name, at in named.items():
    error = np.std(found[name], ddof=1) / 60**0.5
    assert abs(np.mean(found[name]) - np.trace(dense[at, at])) < 4 * error, name
    assert error < 0.2 * np.trace(dense), name


def test_the_density_is_that_of_the_dense_eigenvalues(times, dense):
  """Mean over 10 vectors, smoothed by 1 % of the largest eigenvalue: three quarters of it lie near zero.

  The two densities differ in less than 8 % of their mass (here 4 %; of vectors alone, without quadrature, as much).
  """
  values = np.linalg.eigvalsh(dense)
  found = [lanczos.quadrature(times, curvature.signs(len(dense), 0, probe), 40) for probe in range(1, 11)]
  nodes, weights = (np.concatenate(each) for each in zip(*found, strict=True))
  estimated = curvature_analysis.density(nodes, weights / 10)
  assert nodes.max() == pytest.approx(values[-1], rel=1e-3) and nodes.min() == pytest.approx(values[0], rel=1e-3)
  expected = curvature_analysis.density(values, np.full(len(values), 1 / len(values)))
  expected = np.interp(estimated["position"], expected["position"], expected["density"])
  width = np.diff(estimated["position"]).mean()
  assert expected.sum() * width == pytest.approx(1, abs=0.01)
  assert np.abs(estimated["density"] - expected).sum() * width / 2 < 0.08


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
  root = tmp_path_factory.mktemp("studied") / "experiment"
  random_networks.write(root / "net", NET, DIGITS, 8, 10, channels=1)
  assert study.main(["curvature", "--workdir", str(root), *FEW]) == 0
  return root


def test_the_command_writes_a_line_a_vector_and_goes_on(studied, capsys):
  logs, torn = study_records.read(studied / "net")
  assert torn == 0 and [row["probe"] for row in logs["spectrum"]] == [1, 2]
  assert [row["part"] for row in logs["trace"]] == PARTS * 3
  assert sum(row["parameters"] for row in logs["trace"][:3]) == logs["spectrum"][0]["parameters"] == 292
  assert all(len(row["values"]) == 5 and sum(row["weights"]) == pytest.approx(1) for row in logs["spectrum"])
  for row in logs["spectrum"]:  # the first moment of a quadrature is what the trace has of the same vector
    moment = 292 * np.dot(row["values"], row["weights"])
    assert moment == pytest.approx(
      sum(each["trace"] for each in logs["trace"] if each["probe"] == row["probe"]), rel=1e-3
    )
  path = studied / "net" / "studies" / "trace.jsonl"
  path.write_bytes(
    b"".join(path.read_bytes().splitlines(keepends=True)[:4]) + b'{"step": 0, "pr'
  )  # as a kill leaves it
  assert study.main(["curvature", "--workdir", str(studied), *FEW]) == 0
  again = study_records.read(studied / "net")[0]
  assert again["trace"] == [{**row, "trace": pytest.approx(row["trace"], rel=1e-5)} for row in logs["trace"]]
  assert again["spectrum"] == logs["spectrum"] and "largest eigenvalue" in capsys.readouterr().out


def test_the_report_says_what_was_estimated(studied):
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


def test_trace_or_density_alone_is_a_section(tmp_path):
  directory = random_networks.write(tmp_path / "net", NET, DIGITS, 8, 10, channels=1)
  few = ("--images=20", "--batch_size=20", "--iterations=3", "--traces=1")
  assert study.main(["curvature", "--workdir", str(directory), *few, "--probes=0"]) == 0
  section = curvature_section.build(analysis.load(directory))
  assert [panel.name for panel in section.panels] == ["hessian-trace"]
  assert "±" not in section.tables[0].rows[0][4]  # one vector has no standard error
