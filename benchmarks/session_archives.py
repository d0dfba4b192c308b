"""Packs the records and the checkpoints of a session into archives of limited size.

    python -m benchmarks.session_archives WORK OUT [--limit_mib 15] [--archives 6]

WORK holds work directories. OUT receives `records.tgz` and `checkpoints-1.tgz`, `checkpoints-2.tgz`, ..., where the
checkpoints of one run are in one archive.
"""

import tarfile
from pathlib import Path

from absl import app, flags

_LIMIT = flags.DEFINE_float("limit_mib", 15.0, "Largest size of an archive in MiB.")
_ARCHIVES = flags.DEFINE_integer("archives", 6, "Largest number of archives of checkpoints.")
CHECKPOINTS = "checkpoints"


def size(path: Path) -> int:
  """Returns the total size of all files below a path, in bytes."""
  return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main(arguments: list[str]) -> None:
  work, out = map(Path, arguments[1:])
  runs = sorted(path.parent for path in work.rglob("run.json"))
  with tarfile.open(out / "records.tgz", "w:gz") as archive:
    for run in runs:
      for path in sorted(run.iterdir()):
        if path.name != CHECKPOINTS:
          archive.add(path, path.relative_to(work))
  bins: list[list[Path]] = []
  for run in sorted(runs, key=lambda run: -size(run / CHECKPOINTS)):
    folder = run / CHECKPOINTS
    free = [each for each in bins if sum(map(size, each)) + size(folder) <= _LIMIT.value * 2**20]
    if free:
      free[0].append(folder)
    elif len(bins) < _ARCHIVES.value and size(folder) <= _LIMIT.value * 2**20:
      bins.append([folder])
    else:
      print(f"not archived: {folder}, {size(folder) / 2**20:.1f} MiB")
  for number, folders in enumerate(bins, 1):
    with tarfile.open(out / f"{CHECKPOINTS}-{number}.tgz", "w:gz") as archive:
      for folder in folders:
        archive.add(folder, folder.relative_to(work))
  for path in sorted(out.glob("*.tgz")):
    print(f"{path.name}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
  app.run(main)
