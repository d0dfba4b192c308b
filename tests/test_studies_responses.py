"""The study of responses: measurements with the settings of the run and with others."""

import pytest

from resjax import records, study, study_records
from resjax.config import Config, Data, Model, Responses
from resjax.data.cifar_format import FAMILIES
from tests import random_networks, synthetic_cifar

CONFIG = Config(
  model=Model(depth=8, blocks=(2, 1), width=4),
  data=random_networks.DIGITS,
  responses=Responses(images=52, batch_size=26),
)


@pytest.fixture
def net(tmp_path):
  directory = random_networks.write_digits_run(tmp_path / "net", CONFIG.model)
  with records.RunWriter(directory) as writer:
    writer.write_config(CONFIG.to_dict())
  return directory


def test_measurements_with_other_settings_are_appended(net, capsys):
  command = ["responses", "--workdir", str(net)]
  assert study.main(command) == 0
  rows = study_records.read(net)[0]["responses"]
  assert [row["layer"] for row in rows] == list(range(1, 8)) and all(row["std"] > 0 for row in rows)
  assert {(row["images"], row["mode"], row["source"], row["pooling"]) for row in rows} == {
    (52, "running", "test", "units")
  }
  assert study.main([*command, "--pooling=channels", "--first_conv=false"]) == 0
  both = study_records.read(net)[0]["responses"]
  assert both[:7] == rows and [row["layer"] for row in both[7:]] == list(range(1, 7))
  assert {row["pooling"] for row in both[7:]} == {"channels"}
  assert [row["name"] for row in both[7:]] == [row["name"] for row in rows[1:]]
  assert all(other["std"] <= one["std"] for one, other in zip(rows[1:], both[7:], strict=True))
  capsys.readouterr()
  assert study.main(command) == 0
  assert study_records.read(net)[0]["responses"] == both
  assert study.main([*command, "--images=400", "--batch_size=200"]) == 2
  assert "images = 400: must be at most 360, the number of test images" in capsys.readouterr().err
  assert study.main([*command, "--images=40"]) == 2
  assert "images = 40: must be a multiple of batch_size = 26" in capsys.readouterr().err


def test_files_given_by_data_may_differ_from_the_published_ones(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(FAMILIES, "cifar10", synthetic_cifar.small_family("cifar10"))
  archive = synthetic_cifar.write_archive(
    tmp_path / FAMILIES["cifar10"].binary.archive, synthetic_cifar.binary_contents("cifar10")
  )
  directory = random_networks.write_run(tmp_path / "net", CONFIG.model, Data(), 32, 10)
  command = ["responses", "--workdir", str(directory), "--images=11", "--batch_size=11"]
  assert study.main([*command, "--data", str(archive)]) == 0
  shown = capsys.readouterr()
  assert f"{archive}: differs from the published files (" in shown.err
  assert len(study_records.read(directory)[0]["responses"]) == 7


def test_the_record_of_blocks_has_responses_and_inputs(net):
  assert study.main(["responses", "--workdir", str(net)]) == 0
  logs = study_records.read(net)[0]
  assert [(row["stage"], row["block"]) for row in logs["blocks"]] == [(1, 1), (1, 2), (2, 1)]
  last = {(row["stage"], row["block"]): row["std"] for row in logs["responses"]}  # the last layer of a block comes last
  for row in logs["blocks"]:
    assert row["branch_std"] == pytest.approx(last[row["stage"], row["block"]]) and row["input_std"] > 0
  for log in ("blocks", "responses"):  # each is written again alone, and once
    (net / study_records.FOLDER / f"{log}.jsonl").unlink()
    assert study.main(["responses", "--workdir", str(net)]) == 0
    assert study_records.read(net)[0] == logs, log
