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
  assert "1 x box with no area inside its image, omitted: image0_03" in dataset.notes
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


def write_lists(folder, **names):
  """Writes image sets of VOC, in place of all that are there."""
  lists = folder / "ImageSets/Main"
  for path in lists.iterdir():
    path.unlink()
  for key, members in names.items():
    (lists / f"{key}.txt").write_text("\n".join(members))


FIRST, SECOND = [f"image0_{i:02d}" for i in range(6)], ["image0_06", "image0_07"]


def names_of(dataset):
  """Returns the names of the training and of the test images."""
  return [image.name for image in dataset.train], [image.name for image in dataset.test]


def test_without_test_images_val_is_held_out_of_training(tmp_path):
  root = synthetic_detection.write_voc(tmp_path / "voc")
  write_lists(root, train=FIRST, val=SECOND, trainval=FIRST + SECOND)
  dataset = data.load(Data(name="voc", path=str(root)))
  assert names_of(dataset) == (FIRST, SECOND)
  assert dataset.notes[0] == "no image set test, so the test images are those of val and the training images train"
  assert names_of(data.load(Data(name="voc", path=str(root), test_split="val"))) == (FIRST, SECOND)
  with pytest.raises(
    ConfigError,
    match=r"data.train_split = 'trainval' and data.test_split = '': .* 2 are in both, such as image0_06.jpg",
  ):
    data.load(Data(name="voc", path=str(root), train_split="trainval"))


@pytest.mark.parametrize("tested", ["VOC2007", "VOC2012"])
def test_a_test_set_is_looked_for_in_every_year(tmp_path, tested):
  """Images have the same names in both years, but differ in number of objects."""
  test = [f"image1_{i:02d}" for i in range(4)]
  for year in ("VOC2007", "VOC2012"):
    folder = synthetic_detection.write_voc(tmp_path / year)
    sets = {"train": FIRST, "val": SECOND, "trainval": FIRST + SECOND}
    write_lists(folder, **sets, **({"test": test} if year == tested else {}))
  dataset = data.load(Data(name="voc", path=str(tmp_path)))
  assert names_of(dataset) == ((FIRST + SECOND) * 2, test)
  assert {image.path.parents[1].name for image in dataset.test} == {tested}
  assert dataset.notes == ()
  (tmp_path / tested / "ImageSets/Main/test.txt").unlink()
  dataset = data.load(Data(name="voc", path=str(tmp_path), validation_images=1))
  assert sorted(names_of(dataset)[0] + [image.name for image in dataset.validation]) == sorted(FIRST * 2)
  assert {image.path.parents[1].name for image in dataset.test} == {"VOC2007"}
  assert "VOC2007/val and the training images VOC2007/train, VOC2012/train" in dataset.notes[0]


def test_images_of_the_same_name_in_two_years_are_different_images(tmp_path):
  for year in ("VOC2007", "VOC2012"):
    synthetic_detection.write_voc(tmp_path / year, train=2)
  path = tmp_path / "VOC2007/Annotations/image0_00.xml"
  edit(
    path,
    "</annotation>",
    "<object><name>red</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>7</xmax><ymax>9</ymax>"
    "</bndbox></object></annotation>",
  )
  split = "VOC2007/trainval,VOC2012/trainval"
  first, _, other, _ = data.load(
    Data(name="voc", path=str(tmp_path), train_split=split, test_split="VOC2007/test")
  ).train
  assert (first.name, first.path) == (other.name, tmp_path / "VOC2007/JPEGImages/image0_00.jpg")
  assert other.path == tmp_path / "VOC2012/JPEGImages/image0_00.jpg"
  assert len(first.boxes) == len(other.boxes) + 1
  np.testing.assert_array_equal(first.boxes[-1], (0, 0, 7, 9))


def test_the_test_set_needs_an_object_that_is_not_ignored(tmp_path):
  root = synthetic_detection.write_voc(tmp_path / "voc")
  for path in (root / "Annotations").glob("image1_*.xml"):
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
  with pytest.raises(ConfigError, match=r"voc: no test image with an object that is not ignored can be used$"):
    data.load(Data(name="voc", path=str(root)))


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
    ("Annotations/image0_00.xml", "<annotation>", '<?xml version="1.0" encoding="no"?><annotation>', "is not XML"),
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
    ('"annotations"', '"annotated"', "train2017.json: has no list 'annotations'; must be a COCO instances file"),
    ('"bbox"', '"box"', "must be in the format of COCO"),
    ("{", "[", "is not JSON"),
    (
      '"height": 48',
      '"height": 0',
      "train2017.json: image image0_00.jpg: size = 0 x 64: height and width must be positive",
    ),
    ('"width": 64', '"width": -64', "size = 48 x -64: height and width must be positive"),
    ('"height": 48', '"height": Infinity', "must be in the format of COCO"),
    ('"name": "red"', '"title": "red"', "train2017.json: each category must have an id and a name"),
    (
      '"name": "red"',
      '"name": "green"',
      "train2017.json and .*val2017.json: must .* 10 'green' against category 10 'red'",
    ),
    (', {"id": 20, "name": "blue"}', "", "no category against category 20 'blue'"),
    ('"id": 20, "name"', '"id": 10, "name"', "categories 'blue' and 'red' have the same id 10"),
  ],
)
def test_invalid_files_of_coco_are_named(tmp_path, old, new, says):
  root = synthetic_detection.write_coco(tmp_path / "coco")
  edit(root / "annotations/instances_train2017.json", old, new)
  with pytest.raises(ConfigError, match=says):
    data.load(Data(name="coco", path=str(root)))


def test_a_list_is_no_file_of_coco(tmp_path):
  root = synthetic_detection.write_coco(tmp_path / "coco")
  (root / "annotations/instances_val2017.json").write_text("[]")
  with pytest.raises(ConfigError, match=r"instances_val2017.json: has no list 'images'; must be a COCO instances file"):
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
  root = synthetic_detection.write_coco(tmp_path / "coco")
  says = r"instances_val2014.json; the folder has instances_train2017.json, instances_val2017.json$"
  with pytest.raises(ConfigError, match=says):
    data.load(Data(name="coco", path=str(root), test_split="val2014"))
