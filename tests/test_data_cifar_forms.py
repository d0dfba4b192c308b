"""CIFAR in the other forms it is found in: the Python version, Parquet; the same images whichever it is."""

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
from resjax.settings import ConfigError
from tests.synthetic_cifar import archive, as_parquet, as_python, made, pickled, png, small, unpacked


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request, monkeypatch):
  """The name of a data set whose files are small for the time of the test."""
  monkeypatch.setitem(FAMILIES, request.param, small(request.param))
  return request.param


def settings(name, path):
  return Data(name=name, path=str(path), checksum="any")


def expect(data, message):
  with pytest.raises(ConfigError, match=message) as error:
    load(data)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_every_form_gives_the_same_digest(name, tmp_path):
  """The folder, the folder that holds it, as torchvision's `root` is, the archive, and the archive by another name."""
  family, binary = small(name), made(name)
  python = as_python(name, binary, family)
  paths = {}
  for version, contents in ((family.binary, binary), (family.python, python)):
    root = unpacked(tmp_path / version.name, contents)
    packed = tmp_path / f"{version.name} packed"
    packed.mkdir()
    archive(packed / version.archive, contents)
    paths |= {root: version.name, root / version.folder: version.name, packed: f"{version.name} archive"}
    paths[archive(tmp_path / f"my {version.name}.tgz", contents)] = f"{version.name} archive"
  paths |= {
    as_parquet(tmp_path / below, name, binary, family).parent: "parquet" for below in ("a/plain_text", "b/data")
  }
  paths[as_parquet(tmp_path / "c", name, binary, family, image="image")] = "parquet"
  found = {path: load(settings(name, path)) for path in paths}
  assert {path: each.form for path, each in found.items()} == paths
  assert len({each.digest for each in found.values()}) == 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("keys", ["bytes", "text"])
def test_the_python_version_pickled_again_by_python_3(name, tmp_path, protocol, keys):
  """The names in such files differ by protocol and by the version of NumPy."""
  family = small(name)
  published = as_python(name, made(name), family)
  again = {}
  for member, content in published.items():
    found = pickle.loads(content, encoding="bytes")
    found = found if keys == "bytes" else {key.decode(): value for key, value in found.items()}
    again[member] = pickle.dumps(found, protocol)
  unpacked(tmp_path / "published", published)
  unpacked(tmp_path / "again", again)
  digests = {load(settings(name, tmp_path / folder)).digest for folder in ("published", "again")}
  assert len(digests) == 1


def test_the_python_version_as_torchvision_reads_it(name, tmp_path):
  """What reads these files for most people finds the same images in those of the tests, and here."""
  datasets = pytest.importorskip("torchvision.datasets")
  family = small(name)
  unpacked(tmp_path, as_python(name, made(name), family))
  theirs = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]

  class Unchecked(theirs):
    """Takes other files than the published ones."""

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
  family = small(name)
  contents = as_python(name, made(name), family)
  unpacked(tmp_path, contents)
  packed = archive(tmp_path / "mine.tar.gz", contents)
  for path in (tmp_path, packed):
    message = expect(Data(name=name, path=str(path)), f"different MD5: {family.files[0].name}, ")
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
  """The content of a file of the small CIFAR-10, as Python 2 had it."""
  return {b"data": np.zeros((count, 3072), np.uint8), b"labels": [0] * count}


PICKLES = {
  "code": (pickle.dumps(Hostile(), 2), r"refers to 'posix.system'; only numpy arrays are allowed"),
  "code in the dict": (pickle.dumps({b"data": Hostile(), b"labels": [0]}, 4), "refers to 'posix.system'"),
  "eval": (b"\x80\x02c__builtin__\neval\nU\x011\x85R.", "refers to '__builtin__.eval'"),
  "numpy's own": (b"\x80\x02cnumpy\nload\nU\x01x\x85R.", "refers to 'numpy.load'"),
  "another encoding": (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.", "must be 'latin1'"),
  "below a known name": (b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__new__\x93.", "refers to 'numpy.dtype.__new__'"),
  "a line break in a name": (b"\x80\x04\x8c\x03a\nb\x8c\x01c\x93.", r"refers to 'a\\nb.c'"),
  "cut": (pickled(good())[:-5000], "not a valid pickle"),
  "empty": (b"", "not a valid pickle"),
  "text": (b"<!DOCTYPE html>", "not a valid pickle"),
  "list": (pickled([1]), "contains a list, must be a dict"),
  "no data": (pickled({b"labels": [0] * 6}), "has no data"),
  "no labels": (pickled({b"data": np.zeros((6, 3072), np.uint8)}), "has no labels"),
  "channels last": (
    pickled(good() | {b"data": np.zeros((6, 32, 32, 3), np.uint8)}),
    r"data is u1 \[6, 32, 32, 3\], must be u1 \[6, 3072\]",
  ),
  "transposed": (pickled(good() | {b"data": np.zeros((3072, 6), np.uint8)}), r"data is u1 \[3072, 6\]"),
  "in Fortran order": (pickled(good() | {b"data": np.zeros((6, 3072), np.uint8, order="F")}), "row by row"),
  "floats": (pickled(good() | {b"data": np.zeros((6, 3072), np.float32)}), r"data is f4 \[6, 3072\]"),
  "a list of pixels": (pickled(good() | {b"data": [0]}), "data must be a numpy array"),
  "too few": (pickled(good(5)), r"has 5 labels, must be 6"),
  "a label too many": (pickled(good() | {b"labels": [0] * 7}), r"has 7 labels, must be 6"),
  "an unknown label": (pickled(good() | {b"labels": [0] * 5 + [10]}), "record 5 has label 10, must be 0 to 9"),
  "labels as text": (pickled(good() | {b"labels": b"abcdef"}), "the values of label must be a list of integers"),
}


@pytest.mark.parametrize("way", PICKLES)
def test_other_pickles_are_refused_and_run_no_code(way, tmp_path, monkeypatch):
  monkeypatch.setitem(FAMILIES, "cifar10", small("cifar10"))
  content, message = PICKLES[way]
  contents = as_python("cifar10", made("cifar10"), small("cifar10"))
  contents["cifar-10-batches-py/data_batch_1"] = content
  unpacked(tmp_path, contents)
  monkeypatch.chdir(tmp_path)
  refusal = expect(settings("cifar10", tmp_path), message)
  assert refusal.startswith(f"{tmp_path / 'cifar-10-batches-py'}: data_batch_1: ")
  assert not (tmp_path / "ran").exists()


def test_a_hostile_pickle_on_the_command_line(tmp_path):
  """One line, exit code 2, nothing written, and the code in it has not run."""
  family = FAMILIES["cifar10"]
  contents = {f"{family.python.folder}/{file.name}": pickle.dumps(Hostile(), 2) for file in family.files}
  unpacked(tmp_path / "data", contents)
  command = [sys.executable, "-m", "resjax.main", "--config", "cifar_depth_sweep", "--only", "depth=20 seed=0"]
  command += [f"--workdir={tmp_path / 'runs'}", f"--config.data.path={tmp_path / 'data'}", "--config.data.checksum=any"]
  ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
  assert (ended.returncode, ended.stdout) == (2, "")
  assert ended.stderr.count("\n") == 1 and "'posix.system'" in ended.stderr
  assert not (tmp_path / "runs").exists()


def test_files_are_missing(name, tmp_path):
  family = small(name)
  contents = as_python(name, made(name), family)
  unpacked(tmp_path, contents)
  last = list(contents)[-1]
  (tmp_path / last).unlink()
  assert str(tmp_path / last) in expect(settings(name, tmp_path), "missing")
  packed = archive(tmp_path / "x.tar.gz", {member: contents[member] for member in list(contents)[:-1]})
  expect(settings(name, packed), f"has no {last}")
  archive(packed, {"readme": b"x"})
  expect(settings(name, packed), f"contains neither {family.binary.folder} nor {family.python.folder}")


@pytest.mark.parametrize("form", ["binary", "python", "parquet"])
def test_the_other_data_set_is_named(form, tmp_path):
  family, binary = small("cifar100"), made("cifar100")
  if form == "parquet":
    as_parquet(tmp_path, "cifar100", binary, family)
  else:
    unpacked(tmp_path, binary if form == "binary" else as_python("cifar100", binary, family))
  expect(settings("cifar10", tmp_path), "contains CIFAR-100; use data.name=cifar100")


def test_single_files_of_other_kinds(tmp_path):
  for suffix, message in ((".npz", "use data.name=npz"), (".parquet", "data.path must be the folder")):
    (tmp_path / f"x{suffix}").touch()
    expect(settings("cifar10", tmp_path / f"x{suffix}"), message)


def rows(images, labels, **names):
  """Returns a Parquet table."""
  kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
  files = pa.array([{"bytes": content, "path": None} for content in images], kind)
  return pa.table({names.get("image", "img"): files, names.get("label", "label"): labels})


COUNT = 11  # test images of the small CIFAR-10
IMAGE = png(np.zeros((32, 32, 3), np.uint8))
TABLES = {
  "label": (lambda: rows([IMAGE] * COUNT, [0] * 10 + [10]), "row 10 has label 10, must be 0 to 9"),
  "no label": (lambda: rows([IMAGE] * COUNT, [0] * 10 + [None]), "row 10 has label None"),
  "size": (lambda: rows([png(np.zeros((3, 32, 3), np.uint8))] + [IMAGE] * 10, [0] * COUNT), "row 0: an image of 32x3"),
  "grey": (lambda: rows([png(np.zeros((32, 32), np.uint8))] * COUNT, [0] * COUNT), "in mode L, must be 32x32 in RGB"),
  "damaged": (lambda: rows([IMAGE[:60]] * COUNT, [0] * COUNT), "row 0: "),
  "no image": (lambda: rows([None] * COUNT, [0] * COUNT), "row 0: "),
  "fewer": (lambda: rows([IMAGE] * 9, [0] * 9), "9 images in test, must be 11"),
  "other columns": (lambda: rows([IMAGE], [0], image="picture"), "has no column img or image; it has picture, label"),
  "pixels": (lambda: pa.table({"img": [[0] * 3072], "label": [0]}), "column img is list<.*must be a struct"),
  "text": (lambda: rows([IMAGE], ["cat"]), "column label is string, must be integers"),
}


@pytest.mark.parametrize("way", TABLES)
def test_bad_parquet(way, tmp_path, monkeypatch):
  monkeypatch.setitem(FAMILIES, "cifar10", small("cifar10"))
  as_parquet(tmp_path, "cifar10", made("cifar10"), small("cifar10"))
  table, message = TABLES[way]
  pq.write_table(table(), tmp_path / "test-00000-of-00001.parquet")
  expect(settings("cifar10", tmp_path), message)


def test_damaged_parquet(name, tmp_path):
  as_parquet(tmp_path, name, made(name), small(name))
  for file in ("test-00000-of-00001.parquet", "train-00000-of-00002.parquet"):
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-20])
    assert str(path) in expect(settings(name, tmp_path), "damaged, or not a Parquet file")


def test_what_is_there_is_recognised(name, tmp_path):
  family = small(name)
  unpacked(tmp_path / "python", as_python(name, made(name), family))
  as_parquet(tmp_path / "parquet", name, made(name), family)
  (tmp_path / family.python.archive).touch()
  (tmp_path / "folder" / "train" / "a class").mkdir(parents=True)
  for below in ("python", f"python/{family.python.folder}", "parquet", family.python.archive):
    assert cifar_detection.recognised(tmp_path / below) == name
  assert cifar_detection.recognised(tmp_path / "folder") is None


def test_a_form_imports_only_what_it_needs(tmp_path):
  """Both published versions need the standard library and numpy alone."""
  code = """
import sys
from resjax.config import Data
from resjax.data import cifar, cifar_format
from tests.synthetic_cifar import as_python, made, small, unpacked
from pathlib import Path
family = cifar_format.FAMILIES["cifar10"] = small("cifar10")
for form, contents in (("binary", made("cifar10")), ("python", as_python("cifar10", made("cifar10"), family))):
  root = unpacked(Path(sys.argv[1]) / form, contents)
  print(cifar.load(Data(path=str(root), checksum="any")).form)
print([name for name in ("jax", "tensorflow_datasets", "pyarrow", "PIL", "cv2") if name in sys.modules])
"""
  command = [sys.executable, "-c", code, str(tmp_path)]
  done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": "."})
  assert done.stdout == "binary\npython\n[]\n"
