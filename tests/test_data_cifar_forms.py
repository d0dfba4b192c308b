"""The Python version and the Parquet files of CIFAR: the same images as in the binary version, and errors."""

import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resjax.config import Data
from resjax.data import cifar_detection, load
from resjax.data.cifar_format import FAMILIES
from tests.synthetic_cifar import (
  binary_contents,
  encode_png,
  load_error,
  python2_pickle,
  python_contents,
  small_family,
  write_archive,
  write_files,
  write_parquet,
)


@pytest.fixture
def name(small_cifar):
  return small_cifar


def settings(name, path):
  """Returns the settings that read a data set from a path without comparing checksums."""
  return Data(name=name, path=str(path), checksum="any")


def test_every_form_has_the_same_digest(name, tmp_path):
  """The path may be the folder, its parent (like torchvision's `root`), or the archive under any name."""
  family, binary = small_family(name), binary_contents(name)
  python = python_contents(name, binary, family)
  paths = {}
  for version, contents in ((family.binary, binary), (family.python, python)):
    root = write_files(tmp_path / version.name, contents)
    packed = tmp_path / f"{version.name} archive"
    packed.mkdir()
    write_archive(packed / version.archive, contents)
    paths |= {root: version.name, root / version.folder: version.name, packed: f"{version.name} archive"}
    paths[write_archive(tmp_path / f"my {version.name}.tgz", contents)] = f"{version.name} archive"
  paths |= {
    write_parquet(tmp_path / below, name, binary, family).parent: "parquet" for below in ("a/plain_text", "b/data")
  }
  paths[write_parquet(tmp_path / "c", name, binary, family, image="image")] = "parquet"
  loaded = {path: load(settings(name, path)) for path in paths}
  assert {path: each.form for path, each in loaded.items()} == paths
  assert len({each.digest for each in loaded.values()}) == 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("keys", ["bytes", "text"])
def test_the_python_version_can_be_pickled_again_by_python_3(name, tmp_path, protocol, keys):
  """The names in such pickles depend on the protocol and on the version of NumPy."""
  family = small_family(name)
  published = python_contents(name, binary_contents(name), family)
  again = {}
  for member, content in published.items():
    value = pickle.loads(content, encoding="bytes")
    value = value if keys == "bytes" else {key.decode(): own for key, own in value.items()}
    again[member] = pickle.dumps(value, protocol)
  write_files(tmp_path / "published", published)
  write_files(tmp_path / "again", again)
  digests = {load(settings(name, tmp_path / folder)).digest for folder in ("published", "again")}
  assert len(digests) == 1


def test_the_python_version_is_read_as_by_torchvision(name, tmp_path):
  datasets = pytest.importorskip("torchvision.datasets")
  family = small_family(name)
  write_files(tmp_path, python_contents(name, binary_contents(name), family))
  theirs = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]

  class Unchecked(theirs):
    """torchvision's data set without its test of checksums."""

    def _check_integrity(self):
      return True

    def _load_meta(self):
      self.classes = []

  found = load(settings(name, tmp_path))
  for train, images, labels in (
    (True, found.train_images, found.train_labels),
    (False, found.test_images, found.test_labels),
  ):
    other = Unchecked(tmp_path, train=train)
    np.testing.assert_array_equal(images, other.data)
    assert labels.tolist() == other.targets


def test_checksums_are_those_that_torchvision_lists():
  cifar = pytest.importorskip("torchvision.datasets.cifar")
  for name, theirs in (("cifar10", cifar.CIFAR10), ("cifar100", cifar.CIFAR100)):
    listed = [[file.name, file.checksums["md5"]] for file in FAMILIES[name].files]
    assert listed == theirs.train_list + theirs.test_list
    assert (FAMILIES[name].python.archive, FAMILIES[name].python.folder) == (theirs.filename, theirs.base_folder)


def test_the_published_checksums_are_checked(name, tmp_path, monkeypatch):
  family = small_family(name)
  contents = python_contents(name, binary_contents(name), family)
  write_files(tmp_path, contents)
  packed = write_archive(tmp_path / "mine.tar.gz", contents)
  for path in (tmp_path, packed):
    message = load_error(Data(name=name, path=str(path)), f"different MD5: {family.files[0].name}, ")
    assert message.endswith("set data.checksum=any to use it anyway")
    (note,) = load(settings(name, path)).notes
    assert "different MD5" in note
  files = tuple(
    dataclasses.replace(file, checksums={"md5": hashlib.md5(content).hexdigest()})
    for file, content in zip(family.files, contents.values(), strict=True)
  )
  monkeypatch.setitem(FAMILIES, name, dataclasses.replace(family, files=files))
  for path in (tmp_path, packed):
    assert load(Data(name=name, path=str(path))).notes == ()


class Hostile:
  def __reduce__(self):
    return os.system, ("touch ran",)


def good(count=6):
  """Returns the object that is pickled in a file of the small CIFAR-10."""
  return {b"data": np.zeros((count, 3072), np.uint8), b"labels": [0] * count}


PICKLES = {
  "code": (pickle.dumps(Hostile(), 2), r"refers to 'posix.system'; only numpy arrays are allowed"),
  "code in the dict": (pickle.dumps({b"data": Hostile(), b"labels": [0]}, 4), "refers to 'posix.system'"),
  "eval": (b"\x80\x02c__builtin__\neval\nU\x011\x85R.", "refers to '__builtin__.eval'"),
  "numpy's own": (b"\x80\x02cnumpy\nload\nU\x01x\x85R.", "refers to 'numpy.load'"),
  "another encoding": (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.", "must be 'latin1'"),
  "below a known name": (b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__new__\x93.", "refers to 'numpy.dtype.__new__'"),
  "a line break in a name": (b"\x80\x04\x8c\x03a\nb\x8c\x01c\x93.", r"refers to 'a\\nb.c'"),
  "cut": (python2_pickle(good())[:-5000], "not a valid pickle"),
  "empty": (b"", "not a valid pickle"),
  "text": (b"<!DOCTYPE html>", "not a valid pickle"),
  "list": (python2_pickle([1]), "contains a list, must be a dict"),
  "no data": (python2_pickle({b"labels": [0] * 6}), "has no data"),
  "no labels": (python2_pickle({b"data": np.zeros((6, 3072), np.uint8)}), "has no labels"),
  "channels last": (
    python2_pickle(good() | {b"data": np.zeros((6, 32, 32, 3), np.uint8)}),
    r"data is u1 \[6, 32, 32, 3\], must be u1 \[6, 3072\]",
  ),
  "transposed": (python2_pickle(good() | {b"data": np.zeros((3072, 6), np.uint8)}), r"data is u1 \[3072, 6\]"),
  "in Fortran order": (python2_pickle(good() | {b"data": np.zeros((6, 3072), np.uint8, order="F")}), "row by row"),
  "floats": (python2_pickle(good() | {b"data": np.zeros((6, 3072), np.float32)}), r"data is f4 \[6, 3072\]"),
  "a list of pixels": (python2_pickle(good() | {b"data": [0]}), "data must be a numpy array"),
  "too few": (python2_pickle(good(5)), r"has 5 labels, must be 6"),
  "a label too many": (python2_pickle(good() | {b"labels": [0] * 7}), r"has 7 labels, must be 6"),
  "an unknown label": (python2_pickle(good() | {b"labels": [0] * 5 + [10]}), "record 5 has label 10, must be 0 to 9"),
  "labels as text": (python2_pickle(good() | {b"labels": b"abcdef"}), "the values of label must be a list of integers"),
}


@pytest.mark.parametrize("case", PICKLES)
def test_other_pickles_are_refused_and_run_no_code(case, tmp_path, monkeypatch):
  monkeypatch.setitem(FAMILIES, "cifar10", small_family("cifar10"))
  content, message = PICKLES[case]
  contents = python_contents("cifar10", binary_contents("cifar10"), small_family("cifar10"))
  contents["cifar-10-batches-py/data_batch_1"] = content
  write_files(tmp_path, contents)
  monkeypatch.chdir(tmp_path)
  refusal = load_error(settings("cifar10", tmp_path), message)
  assert refusal.startswith(f"{tmp_path / 'cifar-10-batches-py'}: data_batch_1: ")
  assert not (tmp_path / "ran").exists()


def test_a_hostile_pickle_is_a_one_line_error_of_the_command(tmp_path):
  family = FAMILIES["cifar10"]
  contents = {f"{family.python.folder}/{file.name}": pickle.dumps(Hostile(), 2) for file in family.files}
  write_files(tmp_path / "data", contents)
  command = [sys.executable, "-m", "resjax.main", "--config", "cifar_depth_sweep", "--only", "depth=20 seed=0"]
  command += [f"--workdir={tmp_path / 'runs'}", f"--config.data.path={tmp_path / 'data'}", "--config.data.checksum=any"]
  ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
  assert (ended.returncode, ended.stdout) == (2, "")
  assert ended.stderr.count("\n") == 1 and "'posix.system'" in ended.stderr
  assert not (tmp_path / "runs").exists()


def test_missing_files_are_named(name, tmp_path):
  family = small_family(name)
  contents = python_contents(name, binary_contents(name), family)
  write_files(tmp_path, contents)
  last = list(contents)[-1]
  (tmp_path / last).unlink()
  assert str(tmp_path / last) in load_error(settings(name, tmp_path), "missing")
  packed = write_archive(tmp_path / "x.tar.gz", {member: contents[member] for member in list(contents)[:-1]})
  load_error(settings(name, packed), f"has no {last}")
  write_archive(packed, {"readme": b"x"})
  load_error(settings(name, packed), f"contains neither {family.binary.folder} nor {family.python.folder}")


@pytest.mark.parametrize("form", ["binary", "python", "parquet"])
def test_the_other_data_set_is_named(form, tmp_path):
  family, binary = small_family("cifar100"), binary_contents("cifar100")
  if form == "parquet":
    write_parquet(tmp_path, "cifar100", binary, family)
  else:
    write_files(tmp_path, binary if form == "binary" else python_contents("cifar100", binary, family))
  load_error(settings("cifar10", tmp_path), "contains CIFAR-100; use data.name=cifar100")


def test_files_of_other_kinds_are_refused_with_the_setting_to_use(tmp_path):
  for suffix, message in ((".npz", "use data.name=npz"), (".parquet", "data.path must be the folder")):
    (tmp_path / f"x{suffix}").touch()
    load_error(settings("cifar10", tmp_path / f"x{suffix}"), message)


def parquet_table(images, labels, **names):
  """Returns a table of encoded images and labels, with other names of the columns `image` and `label` if given."""
  kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
  files = pa.array([{"bytes": content, "path": None} for content in images], kind)
  return pa.table({names.get("image", "img"): files, names.get("label", "label"): labels})


COUNT = 11  # test images of the small CIFAR-10
IMAGE = encode_png(np.zeros((32, 32, 3), np.uint8))
TABLES = {
  "label": (lambda: parquet_table([IMAGE] * COUNT, [0] * 10 + [10]), "row 10 has label 10, must be 0 to 9"),
  "no label": (lambda: parquet_table([IMAGE] * COUNT, [0] * 10 + [None]), "row 10 has label None"),
  "size": (
    lambda: parquet_table([encode_png(np.zeros((3, 32, 3), np.uint8))] + [IMAGE] * 10, [0] * COUNT),
    "row 0: an image of 32x3",
  ),
  "grey": (
    lambda: parquet_table([encode_png(np.zeros((32, 32), np.uint8))] * COUNT, [0] * COUNT),
    "in mode L, must be 32x32 in RGB",
  ),
  "damaged": (lambda: parquet_table([IMAGE[:60]] * COUNT, [0] * COUNT), "row 0: "),
  "no image": (lambda: parquet_table([None] * COUNT, [0] * COUNT), "row 0: "),
  "fewer": (lambda: parquet_table([IMAGE] * 9, [0] * 9), "9 images in test, must be 11"),
  "other columns": (
    lambda: parquet_table([IMAGE], [0], image="picture"),
    "has no column img or image; it has picture, label",
  ),
  "pixels": (lambda: pa.table({"img": [[0] * 3072], "label": [0]}), "column img is list<.*must be a struct"),
  "text": (lambda: parquet_table([IMAGE], ["cat"]), "column label is string, must be integers"),
}


@pytest.mark.parametrize("case", TABLES)
def test_parquet_tables_with_wrong_content_are_refused(case, tmp_path, monkeypatch):
  monkeypatch.setitem(FAMILIES, "cifar10", small_family("cifar10"))
  write_parquet(tmp_path, "cifar10", binary_contents("cifar10"), small_family("cifar10"))
  table, message = TABLES[case]
  pq.write_table(table(), tmp_path / "test-00000-of-00001.parquet")
  load_error(settings("cifar10", tmp_path), message)


def test_damaged_parquet_files_are_named(name, tmp_path):
  write_parquet(tmp_path, name, binary_contents(name), small_family(name))
  for file in ("test-00000-of-00001.parquet", "train-00000-of-00002.parquet"):
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-20])
    assert str(path) in load_error(settings(name, tmp_path), "damaged, or not a Parquet file")


def test_forms_of_cifar_are_recognized_by_their_files(name, tmp_path):
  family = small_family(name)
  write_files(tmp_path / "python", python_contents(name, binary_contents(name), family))
  write_parquet(tmp_path / "parquet", name, binary_contents(name), family)
  (tmp_path / family.python.archive).touch()
  (tmp_path / "folder" / "train" / "a class").mkdir(parents=True)
  for below in ("python", f"python/{family.python.folder}", "parquet", family.python.archive):
    assert cifar_detection.detect_name(tmp_path / below) == name
  assert cifar_detection.detect_name(tmp_path / "folder") is None


def test_the_published_versions_are_read_with_numpy_alone(tmp_path):
  code = """
import sys
from resjax.config import Data
from resjax.data import cifar, cifar_format
from tests.synthetic_cifar import python_contents, binary_contents, small_family, write_files
from pathlib import Path
family = cifar_format.FAMILIES["cifar10"] = small_family("cifar10")
binary = binary_contents("cifar10")
for form, contents in (("binary", binary), ("python", python_contents("cifar10", binary, family))):
  root = write_files(Path(sys.argv[1]) / form, contents)
  print(cifar.load(Data(path=str(root), checksum="any")).form)
print([name for name in ("jax", "tensorflow_datasets", "pyarrow", "PIL", "cv2") if name in sys.modules])
"""
  command = [sys.executable, "-c", code, str(tmp_path)]
  done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": "."})
  assert done.stdout == "binary\npython\n[]\n"
