"""Test images from folders and files that are recognized by their contents."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from resjax.config import Data
from resjax.evaluation import images
from resjax.settings import ConfigError
from tests.synthetic_images import SHAPES


def test_all_images_of_a_folder_are_read_and_broken_ones_are_named(tmp_path):
  rng = np.random.default_rng(0)
  photos = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in SHAPES]
  for i, photo in enumerate(photos):
    (tmp_path / f"class{i % 2}").mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / f"class{i % 2}" / f"{i}.png"), photo[..., ::-1])
  (tmp_path / "class1" / "broken.jpg").write_bytes(b"no image")
  found = images.read(str(tmp_path), Data())
  for _ in range(2):
    pairs = list(found.pairs(64))
    assert sorted(image.shape for image, _ in pairs) == sorted((*shape, 3) for shape in SHAPES)
    assert sorted(label for _, label in pairs) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(found.skipped) == 1 and found.skipped[0].startswith("class1/broken.jpg: ")
  assert found.classes == 2
  # The folder on which a network was trained has a test set: the share that was held out.
  own = images.read(str(tmp_path), Data(name="folder", path=str(tmp_path), test_share=0.4))
  assert len(list(own.pairs(64))) + len(own.skipped) == 4


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
