"""The run directories of an experiment as one compressed archive, because thousands of small files are hard to keep."""

import lzma
import os
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from resjax import files
from resjax.records.reader import find_runs
from resjax.records.schema import RecordsError

ARCHIVE = "runs.tar.xz"
_LEFT_OUT = {"checkpoints", "input.npz", "lock", "profile"}  # large, or of the machine


def pack(experiment: str | os.PathLike[str]) -> Path:
  """Writes the records of all runs of an experiment to `ARCHIVE` in its directory; equal records give equal bytes.

  Checkpoints are left out. The run directories stay.

  Returns:
    The path of the archive.

  Raises:
    RecordsError: The directory holds no runs, or is itself a run or a parent of experiments.
    OSError: It is in a bucket.
  """
  experiment = files.local_path(experiment)
  runs = find_runs(experiment)
  if not runs or {run.parent for run in runs} != {experiment}:
    raise RecordsError(f"{experiment}: must be the directory of one experiment, with its runs")
  path = experiment / ARCHIVE
  with tarfile.open(path, "w:xz", preset=9) as archive:
    for run in runs:
      for file in sorted(run.rglob("*")):
        inside = file.relative_to(run)
        if file.is_file() and not {*inside.parts} & _LEFT_OUT:
          member = tarfile.TarInfo((run.name / inside).as_posix())  # without owner, mode and time of the file
          member.size = file.stat().st_size
          with file.open("rb") as content:
            archive.addfile(member, content)
  return path


def unpack(root: str | os.PathLike[str]) -> None:
  """Extracts from the archives at `root`, or one level below, the runs whose directories do not exist.

  Nothing is added to an existing run directory, because the run in it may be another one with the same id.

  Raises:
    RecordsError: An archive is damaged.
  """
  root = files.as_path(root)
  if files.in_bucket(root):
    return
  for path in sorted({*root.glob(ARCHIVE), *root.glob(f"*/{ARCHIVE}")}):
    try:
      _unpack_missing(path)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
      raise RecordsError(f"{path}: cannot be unpacked: {error}") from error


def _unpack_missing(path: Path) -> None:
  """Extracts the missing run directories of one archive; each appears complete or not at all."""
  existing = {entry.name for entry in path.parent.iterdir()}
  with tarfile.open(path) as archive:
    # The path "." of an archive of a whole folder has no parts.
    missing = [member for member in archive if not {*PurePosixPath(member.name).parts[:1]} <= existing]
    if not missing:
      return
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=path.parent) as temporary:
      # One level deeper than `find_runs` searches, so that what an interrupted extraction leaves is not taken for runs.
      folder = Path(temporary) / "runs"
      archive.extractall(folder, missing, filter="data")
      for run in folder.iterdir():
        _move(run, path.parent / run.name)


def _move(run: Path, target: Path) -> None:
  """Renames a run directory, unless another process has created the target in the meantime."""
  try:
    run.rename(target)
  except OSError:
    if not target.exists():
      raise
