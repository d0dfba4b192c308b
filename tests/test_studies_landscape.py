"""The loss landscape: random directions, eigenvalues against the dense Hessian, and the command."""

import json

import jax
import numpy as np
import pytest

from resjax import analysis, study, study_records
from resjax.analysis.sections import landscape as landscape_section
from resjax.data.augment import normalize
from resjax.studies import lanczos, loss_surface, trained_model
from tests import hessian_reference, random_networks, torn_log


def test_filters_of_a_direction_have_the_norms_of_the_filters_of_the_network():
  params = hessian_reference.network().variables["params"]
  found, other = loss_surface.direction(params, 0, 1), loss_surface.direction(params, 0, 2)
  own, kernel = params["stage1"]["rest"]["conv2"]["kernel"], found["stage1"]["rest"]["conv2"]["kernel"]
  assert kernel.shape == (2, 3, 3, 2, 2)
  np.testing.assert_allclose(
    np.linalg.norm(kernel.reshape(2, 18, 2), axis=1), np.linalg.norm(own.reshape(2, 18, 2), axis=1), rtol=1e-5
  )
  dense = found["head"]["dense"]
  np.testing.assert_allclose(
    np.linalg.norm(dense["kernel"], axis=0), np.linalg.norm(params["head"]["dense"]["kernel"], axis=0), rtol=1e-5
  )
  assert not dense["bias"].any() and not found["stem"]["norm"]["scale"].any()
  assert not np.allclose(kernel, other["stage1"]["rest"]["conv2"]["kernel"])
  again = loss_surface.direction(params, 0, 1)
  assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), found, again))


def test_the_largest_eigenvalues_are_those_of_the_dense_hessian():
  hessian = hessian_reference.hessian()
  expected = np.linalg.eigvalsh(hessian)[::-1][:2]
  with jax.set_mesh(trained_model.make_mesh(1)):
    product = hessian_reference.surface().hessian_matvec(lambda _: None)
    found = lanczos.largest_eigenvalues(product, len(hessian), 2, 40, 0)
  assert found.eigenvalues == pytest.approx(expected, rel=1e-3)
  assert (found.residuals < 1e-3 * found.eigenvalues[0]).all() and found.iterations <= 40


def test_lanczos_finds_the_largest_eigenvalues_of_a_matrix():
  rng = np.random.default_rng(0)
  vectors, _ = np.linalg.qr(rng.standard_normal((50, 50)))
  values = np.concatenate([[30, 20, -40], rng.uniform(-1, 1, 47)])
  found = lanczos.largest_eigenvalues(lambda v: vectors @ (values * (vectors.T @ v)), 50, 2, 50, 0)
  assert found.eigenvalues == pytest.approx([30, 20], rel=1e-6) and found.iterations < 20
  whole = lanczos.largest_eigenvalues(lambda v: np.diag([3.0, 1.0, 2.0]) @ v, 3, 5, 30, 0)
  assert whole.eigenvalues == pytest.approx([3, 2, 1])


def test_the_command_continues_a_grid_after_a_kill(tmp_path, capsys):
  directory = random_networks.write_digits_run(tmp_path / "net", hessian_reference.MODEL)
  settings = ["--images=16", "--batch_size=13", "--eigenvalues=0", "--reach=0.5", "--points=3"]
  command = ["landscape", "--workdir", str(directory), *settings]
  assert study.main(command) == 0
  rows = study_records.read(directory)[0]["landscape"]
  assert [(row["alpha"], row["beta"]) for row in rows] == [(a, b) for a in (-0.5, 0, 0.5) for b in (-0.5, 0, 0.5)]
  assert len({row["loss"] for row in rows}) == 9 and all(row["images"] == 16 for row in rows)
  torn_log.tear(directory / "studies" / "landscape.jsonl", 4, b'{"step": 0, "alp')
  assert study.main(command) == 0
  again = study_records.read(directory)[0]["landscape"]
  assert again[:4] == rows[:4]
  for one, other in zip(again, rows, strict=True):
    assert one == {**other, "loss": pytest.approx(other["loss"], rel=1e-6)}
  assert "point 9/9" in capsys.readouterr().out


def test_each_setting_has_its_own_eigenvalues(tmp_path):
  """Numbers of other settings, and those of earlier versions, which did not record them, are not used.

  The expected numbers are those of a run directory that was studied with one setting only.
  """
  few, converged, more = (
    (f"--eigenvalues={count}", f"--iterations={most}") for count, most in ((1, 3), (1, 40), (2, 40))
  )

  def eigenvalues(name, *settings):
    directory = tmp_path / name
    if not directory.exists():
      random_networks.write_digits_run(directory, hessian_reference.MODEL)
    before = study_records.read(directory)[0]["hessian"]
    small = ("--images=16", "--batch_size=16", "--points=2", "--reach=0.1")
    assert study.main(["landscape", "--workdir", str(directory), *small, *settings]) == 0
    return study_records.read(directory)[0]["hessian"][len(before) :]

  (line,) = eigenvalues("net", *few)
  assert line["iterations"] == line["max_iterations"] == 3 and line["residual"] > 1e-2 * line["eigenvalue"]
  path = tmp_path / "net" / "studies" / "hessian.jsonl"
  old = {key: value for key, value in line.items() if key not in ("batch_size", "eigenvalues", "max_iterations")}
  path.write_text(json.dumps(old) + "\n")
  assert eigenvalues("net", *few) == [line]
  assert eigenvalues("net", *few) == []
  (line,) = eigenvalues("net", *converged)
  assert line["residual"] <= lanczos.CONVERGED * line["eigenvalue"] and 3 < line["iterations"] < 40
  both = eigenvalues("net", *more)
  assert [row["index"] for row in both] == [1, 2] and len({row["iterations"] for row in both}) == 1
  assert both == eigenvalues("fresh", *more)
  (table,) = landscape_section.build(analysis.load(tmp_path / "net")).tables
  assert [row[2] for row in table.rows] == ["1", "2"]  # those of the last settings


def test_the_batch_size_is_a_setting_of_batch_statistics(tmp_path):
  """The expected losses are those of the network on each batch by itself."""
  directory = random_networks.write_digits_run(tmp_path / "net", hessian_reference.MODEL)

  def losses(*settings):
    small = ("--images=16", "--eigenvalues=0", "--points=3", "--reach=0.1")
    before = study_records.read(directory)[0]["landscape"]
    assert study.main(["landscape", "--workdir", str(directory), *small, *settings]) == 0
    rows = study_records.read(directory)[0]["landscape"][len(before) :]
    return {(row["batch_size"], row["alpha"], row["beta"]): row["loss"] for row in rows}

  with jax.set_mesh(trained_model.make_mesh(1)):
    trained = trained_model.read(directory, None)
    images, labels = trained.sample("train", 16)
    x = normalize(images, trained.statistics)
    logits = {
      size: [
        trained.net.apply(trained.variables, x[at : at + size], train=True, mutable=["batch_stats"])[0]
        for at in range(0, 16, size)
      ]
      for size in (8, 16)
    }
  expected = {
    size: float(-jax.nn.log_softmax(np.concatenate(each))[np.arange(16), labels].mean())
    for size, each in logits.items()
  }
  assert abs(expected[8] - expected[16]) > 1e-3
  for size in (8, 16):
    found = losses("--mode=batch", f"--batch_size={size}")
    assert len(found) == 9 and found[size, 0, 0] == pytest.approx(expected[size], rel=1e-5)
  assert [key[0] for key in losses("--batch_size=8")] == [None] * 9  # running statistics
  assert losses("--batch_size=16") == losses("--mode=batch", "--batch_size=8") == {}
  (panel,) = landscape_section.build(analysis.load(directory)).panels
  assert panel.name == "landscape-net"
