"""Readers of PASCAL VOC and COCO: boxes and classes, notes on omitted annotations, and errors."""

import json

import numpy as np
import pytest

from resjax import data
from resjax.config import Data
from resjax.data import voc
from resjax.settings import ConfigError
from tests import synthetic_detection


def edit(path, old, new):
  """Replaces the first occurrence of a text in a file."""
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))


def test_both_formats_are_read_to_the_same_boxes(tmp_path):
  of_voc = data.load(Data(name="voc", path=str(synthetic_detection.write_voc(tmp_path / "voc"))))
  of_coco = data.load(Data(name="coco", path=str(synthetic_detection.write_coco(tmp_path / "coco"))))
  assert of_voc.class_names == ("blue", "red")  # sorted by name
  assert (of_coco.class_names, of_coco.category_ids) == (("red", "blue"), (10, 20))  # sorted by category id
  for one, other in zip(of_voc.train + of_voc.test, of_coco.train + of_coco.test, strict=True):
    np.testing.assert_array_equal(one.boxes, other.boxes)
    assert [of_voc.class_names[i - 1] for i in one.labels] == [of_coco.class_names[i - 1] for i in other.labels]
  assert data.describe(Data(name="voc", path=str(tmp_path / "voc"))).train_images == 8


def test_training_images_can_be_held_out_for_validation(tmp_path):
  synthetic_detection.write_voc(tmp_path / "voc")
  dataset = data.load(Data(name="voc", path=str(tmp_path / "voc"), validation_images=3))
  assert [dataset.count(split) for split in ("train", "val", "test")] == [5, 3, 4]
  with pytest.raises(ConfigError, match=r"data.validation_images = 8: must be 0 to 7"):
    data.load(Data(name="voc", path=str(tmp_path / "voc"), validation_images=8))


def test_faulty_annotations_are_counted_and_named(tmp_path):
  root = synthetic_detection.write_voc(tmp_path / "voc", train=9)
  annotations = root / "Annotations"
  edit(annotations / "image0_00.xml", "<xmax>", "<xmax>9")  # extends beyond the image
  (root / "JPEGImages/image0_01.jpg").unlink()
  path = annotations / "image0_02.xml"
  path.write_text(path.read_text().partition("<object>")[0] + "</annotation>")
  path = annotations / "image0_03.xml"
  box = "<object><name>red</name><bndbox><xmin>9</xmin><ymin>5</ymin><xmax>8</xmax><ymax>9</ymax></bndbox></object>"
  path.write_text(path.read_text().replace("</annotation>", f"{box}</annotation>"))
  edit(annotations / "image0_04.xml", "<difficult>0", "<difficult>1")
  dataset = data.load(Data(name="voc", path=str(root)))
  assert dataset.notes[0].startswith("1 x box that extends beyond its image, clipped: image0_00")
  assert "1 x box without area inside of its image, omitted: image0_03" in dataset.notes
  assert "1 x image without a file, omitted: image0_01" in dataset.notes
  assert any(note.endswith("image without objects, not used in training: image0_02") for note in dataset.notes)
  by_name = {image.name: image for image in dataset.train}
  assert by_name["image0_00"].boxes[:, 2].max() == by_name["image0_00"].width
  assert {"image0_01", "image0_02"}.isdisjoint(by_name)


def test_crowds_and_difficult_objects_are_ignored(tmp_path):
  root = synthetic_detection.write_coco(tmp_path / "coco")
  path = root / "annotations/instances_train2017.json"
  content = json.loads(path.read_text())
  content["annotations"][0]["iscrowd"] = 1
  path.write_text(json.dumps(content))
  first = next(i for i in data.load(Data(name="coco", path=str(root))).train if i.ignored.any() or len(i.boxes) == 1)
  assert first.ignored.sum() <= 1


def test_a_development_kit_may_contain_two_years(tmp_path):
  for year in ("VOC2007", "VOC2012"):
    synthetic_detection.write_voc(tmp_path / "kit" / year)
  (tmp_path / "kit/VOC2012/ImageSets/Main/test.txt").unlink()
  kit = str(tmp_path / "kit")
  assert len(data.load(Data(name="voc", path=kit)).train) == 16
  assert len(data.load(Data(name="voc", path=kit, train_split="VOC2007/trainval")).train) == 8
  with pytest.raises(ConfigError, match=r"set data.train_split"):
    data.load(Data(name="voc", path=kit, train_split="VOC2008/trainval"))


def test_the_classes_are_the_20_of_voc_if_there_are_no_others(tmp_path):
  root = synthetic_detection.write_voc(tmp_path / "voc")
  for path in (root / "Annotations").iterdir():
    path.write_text(path.read_text().replace("red", "dog").replace("blue", "cat"))
  assert data.load(Data(name="voc", path=str(root))).class_names == voc.CLASSES


@pytest.mark.parametrize(
  ("path", "old", "new", "says"),
  [
    (
      "Annotations/image1_00.xml",
      "<name>",
      "<name>no",
      "class 'no.*': must be a class of the training images",
    ),
    ("Annotations/image0_00.xml", "<xmin>", "<xmin>x", "must be an annotation in the format of PASCAL VOC"),
    ("Annotations/image0_00.xml", "<filename>", "<file>", "is not XML"),
    ("Annotations/image0_00.xml", "<width>64", "<width>0", "size = 48 x 0: height and width must be positive"),
    ("ImageSets/Main/trainval.txt", "image0_00", "image9_99", "image9_99.xml: cannot be read"),
  ],
)
def test_invalid_files_of_voc_are_named(tmp_path, path, old, new, says):
  root = synthetic_detection.write_voc(tmp_path / "voc")
  edit(root / path, old, new)
  with pytest.raises(ConfigError, match=says):
    data.load(Data(name="voc", path=str(root)))


@pytest.mark.parametrize(
  ("old", "new", "says"),
  [
    ('"category_id": 10', '"category_id": 11', "has the unknown category 11"),
    ('"image_id": 0', '"image_id": 99', "is of image 99, which is not in the file"),
    ('"annotations"', '"annotated"', "must have the list 'annotations'"),
    ('"bbox"', '"box"', "must be in the format of COCO"),
    ("{", "[", "is not JSON"),
  ],
)
def test_invalid_files_of_coco_are_named(tmp_path, old, new, says):
  root = synthetic_detection.write_coco(tmp_path / "coco")
  edit(root / "annotations/instances_train2017.json", old, new)
  with pytest.raises(ConfigError, match=says):
    data.load(Data(name="coco", path=str(root)))


def test_missing_paths_are_named(tmp_path):
  for name in ("voc", "coco"):
    with pytest.raises(ConfigError, match=r"data.path is empty"):
      data.load(Data(name=name))
    with pytest.raises(ConfigError, match=r"no such folder"):
      data.load(Data(name=name, path=str(tmp_path / "nowhere")))
  with pytest.raises(ConfigError, match=r"must contain Annotations, or a folder such as VOC2007"):
    data.load(Data(name="voc", path=str(tmp_path)))
  with pytest.raises(ConfigError, match=r"must contain one file instances_train"):
    data.load(Data(name="coco", path=str(tmp_path)))
