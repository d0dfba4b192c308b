"""Writes CIFAR-10 in every form that can be made of its binary files, for tests and for trying them by hand.

    python -m tests.cifar_forms FOLDER OUT

FOLDER holds cifar-10-batches-bin. Writes below OUT, a folder a form, and prints the settings that read each.
"""

import sys
from pathlib import Path

import numpy as np

from resjax.data.cifar_format import FAMILIES
from tests.synthetic_cifar import archive, arrays, as_parquet, as_python, unpacked

FORMS = ("binary", "binary archive", "python", "python archive", "parquet", "npz")


def write(source: Path, out: Path) -> dict[str, dict[str, str]]:
  """Writes all forms; returns for each the settings that read it."""
  family = FAMILIES["cifar10"]
  binary = {member: (source / member).read_bytes() for member in family.members(family.binary)}
  settings = {form: {"data.path": str(out / form), "data.checksum": "any"} for form in FORMS}
  for version, contents in ((family.binary, binary), (family.python, as_python("cifar10", binary, family))):
    unpacked(out / version.name, contents)
    (out / f"{version.name} archive").mkdir(parents=True)
    archive(out / f"{version.name} archive" / version.archive, contents)
  as_parquet(out / "parquet" / "plain_text", "cifar10", binary, family)
  (out / "npz").mkdir()
  keras = {}
  for split, (images, labels) in arrays("cifar10", binary, family).items():
    keras |= {f"x_{split}": images, f"y_{split}": labels["label"].reshape(-1, 1)}  # as keras.datasets returns them
  np.savez(out / "npz" / "cifar10.npz", **keras)
  return settings | {"npz": {"data.name": "npz", "data.path": str(out / "npz" / "cifar10.npz")}}


if __name__ == "__main__":
  for form, settings in write(Path(sys.argv[1]), Path(sys.argv[2])).items():
    print(form, *(f"--config.{key}={value}" for key, value in settings.items()), sep="\t")
