"""Evaluation of detectors on a data set: its splits, its classes, and the definitions of average precision."""

import json
import shutil
from pathlib import Path

import pytest

from resjax import data, evaluate, records
from resjax.config import Config, Data
from resjax.settings import ConfigError
from resjax.sweep import Run
from resjax.train import experiment
from tests import random_networks, synthetic_detection

pytest.importorskip("pycocotools", reason="the extra detection is not installed")
from tests.test_detection_training import NET, run, settings


def of_few(folder: Path) -> Config:
  """Returns the configuration of a detector that is trained for one step on the images of `few`."""
  once = {"train__steps": 1, "evaluation__every": 1, "train__batch_size": 2}
  return settings(folder, data__train_split="few", detection__score_threshold=0.0, **once)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """Returns a folder with a data set, on which the objects of `few` and test are red, and the run of a detector."""
  root = tmp_path_factory.mktemp("trained")
  folder = synthetic_detection.write_voc(root / "set")
  for name in ("image0_00", "image0_01", *(f"image1_{i:02d}" for i in range(4))):
    path = folder / f"Annotations/{name}.xml"
    path.write_text(path.read_text().replace("blue", "red"))
  (folder / "ImageSets/Main/few.txt").write_text("image0_00\nimage0_01\n")
  run(root, of_few(folder))
  return root


def test_the_splits_of_training_are_used_on_its_data_set(trained, capsys):
  directory, folder = trained / "detection/run-s0", trained / "set"
  there = records.read_run(directory)
  assert (there.run["data"]["class_names"], there.run["data"]["category_ids"]) == (["red"], [1])
  assert evaluate.main(["--checkpoint", str(directory), "--data", str(folder), "--format=json"]) == 0
  printed = json.loads(capsys.readouterr().out)
  (line,) = there.average_precision
  assert printed["map50"] == pytest.approx(line["ap50"]) == pytest.approx(printed["ap50 red"])
  assert printed["map50_11_points"] == pytest.approx(line["ap50_11_points"])
  assert printed["map50_definition"] == "area under the precision-recall curve (VOC 2010 and later)"
  moved = shutil.copytree(folder, trained / "moved")
  assert evaluate.main(["--checkpoint", str(directory), "--data", str(moved), "--format=json"]) == 0
  assert json.loads(capsys.readouterr().out)["map50"] == printed["map50"]
  other = shutil.copytree(folder, trained / "without few")
  (other / "ImageSets/Main/few.txt").unlink()  # the default split has objects of two classes
  assert evaluate.main(["--checkpoint", str(directory), "--data", str(other)]) == 2
  assert "must have 1 classes, as" in capsys.readouterr().err


def test_classes_are_compared_by_name(trained, capsys):
  folder, directory = trained / "set", trained / "detection/run-s0"
  other = Path(shutil.copytree(directory, trained / "other"))
  content = json.loads((other / "run.json").read_text())
  content["data"]["class_names"] = ["green"]
  (other / "run.json").write_text(json.dumps(content))
  for given, says in (
    ([other], f"--data {folder}: class 1 is 'red', must be 'green' as that of {other}"),
    ([directory, other], f"{other}: class 1 is 'green', must be 'red' as that of {directory}"),
  ):
    assert evaluate.main(["--checkpoint", *map(str, given), "--data", str(folder)]) == 2
    assert capsys.readouterr().err == f"resjax.evaluate: {says}\n"


def test_the_directory_that_is_not_a_detector_is_named(trained, capsys):
  folder = Data(name="folder", image_size=32, resize=())
  classifier = random_networks.write_run(trained / "classifier", NET, folder, 32, 5)
  detector = trained / "detection/run-s0"
  for given in ([detector, classifier], [classifier, detector]):
    assert evaluate.main(["--checkpoint", *map(str, given), "--data", str(trained / "set")]) == 2
    assert capsys.readouterr().err.startswith(f"resjax.evaluate: --checkpoint {classifier}: is not a detector; must")


def test_a_run_without_a_readable_test_image_fails_with_the_reason(trained, tmp_path):
  broken = Path(shutil.copytree(trained / "set", tmp_path / "set"))
  for path in broken.glob("JPEGImages/image1_*.jpg"):
    path.write_bytes(b"no image")
  assert experiment.run_all("A question?", [Run("run-s0", "detection", "", of_few(broken))], tmp_path) == 1
  failed = records.read_run(tmp_path / "detection/run-s0").run
  assert failed["status"] == records.FAILED
  assert failed["reason"].startswith("no test image with an object can be decoded: image1_0")


def test_a_training_image_with_too_many_boxes_is_an_error_before_training(trained, tmp_path):
  folder = Path(shutil.copytree(trained / "set", tmp_path / "set"))
  path = folder / "Annotations/image0_00.xml"
  box = "<object><name>red</name><bndbox><xmin>9</xmin><ymin>5</ymin><xmax>18</xmax><ymax>19</ymax></bndbox></object>"
  path.write_text(path.read_text().replace("</annotation>", 6 * box + "</annotation>"))
  boxes = len(data.load(Data(name="voc", path=str(folder))).train[0].boxes)
  says = rf"detection.objects = 4: must be at least {boxes}, the number of boxes in image0_00 \(1 training images have"
  with pytest.raises(ConfigError, match=says):
    run(tmp_path, settings(folder))
  assert not (tmp_path / "detection").exists()
