"""Test images from folders and files that are recognized by their contents."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from resjax import data
from resjax.config import Config, Data, Model
from resjax.evaluation import images
from resjax.settings import ConfigError
from tests import random_networks
from tests.synthetic_images import SHAPES, encode, gradient_image, write_files


def test_all_images_of_a_folder_are_read_and_broken_ones_are_named(tmp_path):
  rng = np.random.default_rng(0)
  photos = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in SHAPES]
  for i, photo in enumerate(photos):
    (tmp_path / f"class{i % 2}").mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / f"class{i % 2}" / f"{i}.png"), photo[..., ::-1])
  (tmp_path / "class1" / "broken.jpg").write_bytes(b"no image")
  found = images.read(str(tmp_path))
  for _ in range(2):
    pairs = list(found.pairs(64))
    assert sorted(image.shape for image, _ in pairs) == sorted((*shape, 3) for shape in SHAPES)
    assert sorted(label for _, label in pairs) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(found.skipped) == 1 and found.skipped[0].startswith("class1/broken.jpg: ")
  assert found.classes == 2
  assert found.notes == (
    f"{tmp_path}: all 9 images are tested; the folder has no test set, and no network is known to have been trained on "
    "it",
  )


def trained_on(settings):
  """Returns a network, which is not trained, with the record of training on a data set."""
  net = random_networks.restored_run(Model(depth=8), 8, 2, 3)
  return dataclasses.replace(net, config=Config(data=settings), data_digest=data.load(settings).digest)


def identities(found):
  """Returns the blue values of test images, which identify them."""
  return sorted(int(image[0, 0, 2]) for image, _ in found.pairs(8))


@pytest.fixture
def folder(tmp_path):
  """Returns an image folder of two classes of ten images, without a test set."""
  pictures = {f"{'ab'[blue // 10]}/{blue}.png": encode(gradient_image(9, 9, blue), "PNG") for blue in range(20)}
  return write_files(tmp_path / "photos", pictures)


@pytest.mark.parametrize("resize", [(), (8, 9)])
def test_test_images_of_a_moved_folder_are_those_of_training(folder, resize):
  """The folder is recognized by its digest, for any network of an ensemble, and at its own path."""
  settings = Data(name="folder", path=str(folder), image_size=8, resize=resize, test_share=0.2, validation_images=2)
  net, other = trained_on(settings), random_networks.restored_run(Model(depth=8), 8, 2, 3)
  fewer = trained_on(dataclasses.replace(settings, test_share=0.1, validation_images=0))
  expected = [
    int(Path(name).stem) for name in data.load(Data(name="folder", path=str(folder), test_share=0.2)).test.names
  ]
  assert identities(images.read(str(folder), [net])) == sorted(expected) and len(expected) == 4
  moved = folder.rename(folder.with_name("moved"))
  for nets in ([net], [other, net]):
    found = images.read(str(moved), nets)
    assert identities(found) == sorted(expected) and found.notes == ()
  both = images.read(str(moved), [net, fewer])  # two images that neither of them was trained on
  assert len(identities(both)) == 2 and set(identities(both)) < set(expected)
  assert len(identities(images.read(str(moved), [other]))) == 20


def test_a_changed_training_folder_is_noted(folder):
  net = trained_on(Data(name="folder", path=str(folder), test_share=0.2))
  write_files(folder, {"a/20.png": encode(gradient_image(9, 9, 20), "PNG")})
  found = images.read(str(folder), [net])
  assert len(identities(found)) == 4
  assert found.notes == (
    f"{folder}: the files are not those that {net.directory} was trained on, so that training images may be tested",
  )
  assert len(identities(images.read(str(folder.rename(folder.with_name("moved"))), [net]))) == 21


def test_a_folder_with_train_only_is_tested_by_its_share_with_a_note(folder):
  (folder.parent / "top").mkdir()
  folder.rename(folder.parent / "top/train")
  found = images.read(str(folder.parent / "top"), [])
  assert len(identities(found)) == 2
  assert found.notes[0].startswith(f"{folder.parent / 'top'}: 2 of the 20 images are tested; ")
  (folder.parent / "top/train").rename(folder.parent / "top/test")
  shutil.copytree(folder.parent / "top/test", folder.parent / "top/train")
  found = images.read(str(folder.parent / "top"), [])
  assert (len(identities(found)), found.notes, found.class_names) == (20, (), ("a", "b"))


@pytest.mark.parametrize(
  ("name", "source"),
  [
    ("x.npz", "npz"),
    ("cifar-10-binary.tar.gz", "cifar10"),
    ("cifar-100-binary/train.bin", "cifar100"),
    ("a/b", "folder"),
  ],
)
def test_data_sets_are_recognized_by_their_paths(name, source, tmp_path):
  path = tmp_path / name
  path.parent.mkdir(exist_ok=True)
  path.touch()
  folder = path if path.suffix in (".npz", ".gz") else path.parent
  assert images.detect_data_set(str(folder)).name == source
  assert images.detect_data_set("digits").name == "digits"


def test_unknown_paths_are_errors(tmp_path):
  Path(tmp_path / "x.txt").touch()
  for path, said in ((tmp_path / "absent", "no such file or folder"), (tmp_path / "x.txt", "neither an .npz file")):
    with pytest.raises(ConfigError, match=rf"--data {path}: {said}"):
      images.detect_data_set(str(path))
