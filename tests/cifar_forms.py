"""Converts the binary version of CIFAR-10 to every other form that resjax reads.

    python -m tests.cifar_forms FOLDER OUT

FOLDER contains cifar-10-batches-bin. The command writes one folder per form below OUT and prints the settings with
which resjax reads each form.
"""

import sys
from pathlib import Path

import numpy as np

from resjax.data.cifar_format import FAMILIES
from tests.synthetic_cifar import arrays, python_contents, write_archive, write_files, write_parquet

FORMS = ("binary", "binary archive", "python", "python archive", "parquet", "npz")


def write(source: Path, out: Path) -> dict[str, dict[str, str]]:
  """Writes all forms.

  Args:
    source: Folder that contains cifar-10-batches-bin.
    out: Folder below which each form gets a folder of its own.

  Returns:
    For each form the settings with which it is read, by dotted key.
  """
  family = FAMILIES["cifar10"]
  binary = {member: (source / member).read_bytes() for member in family.members(family.binary)}
  settings = {form: {"data.path": str(out / form), "data.checksum": "any"} for form in FORMS}
  for version, contents in ((family.binary, binary), (family.python, python_contents("cifar10", binary, family))):
    write_files(out / version.name, contents)
    (out / f"{version.name} archive").mkdir(parents=True)
    write_archive(out / f"{version.name} archive" / version.archive, contents)
  write_parquet(out / "parquet" / "plain_text", "cifar10", binary, family)
  (out / "npz").mkdir()
  keras = {}
  for split, (images, labels) in arrays("cifar10", binary, family).items():
    keras |= {f"x_{split}": images, f"y_{split}": labels["label"].reshape(-1, 1)}  # as keras.datasets returns them
  np.savez(out / "npz" / "cifar10.npz", **keras)
  return settings | {"npz": {"data.name": "npz", "data.path": str(out / "npz" / "cifar10.npz")}}


if __name__ == "__main__":
  for form, settings in write(Path(sys.argv[1]), Path(sys.argv[2])).items():
    print(form, *(f"--config.{key}={value}" for key, value in settings.items()), sep="\t")
