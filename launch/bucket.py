"""Run directories in a bucket: what of them is read here. Any file system that fsspec knows."""

import posixpath
from pathlib import Path
from typing import Any

from launch.jobs import Job

LOGS = ("run.json", "config.json", "input.npz", "metrics*.jsonl", "responses*.jsonl", "gradients*.jsonl")


class Bucket:
  """A work directory in a bucket."""

  def __init__(self, address: str):
    """Takes its address, "gs://bucket/folder"."""
    import fsspec  # comes with an extra

    self._files: Any
    self._files, self._root = fsspec.core.url_to_fs(address)

  def collect(self, jobs: list[Job], into: Path) -> None:
    """Copies the records of runs, not their checkpoints, into a work directory here."""
    for job in jobs:
      there, here = posixpath.join(self._root, job.run.folder, job.run.id), into / job.run.folder / job.run.id
      for name in LOGS:
        for path in self._files.glob(posixpath.join(there, name)):
          here.mkdir(parents=True, exist_ok=True)
          (here / posixpath.basename(path)).write_bytes(self._files.cat_file(path))

  def ended(self, name: str) -> int | None:
    """Returns the exit code that a slice left when all of its runs were over, or None."""
    path = self._mark(name)
    self._files.invalidate_cache()
    return int(self._files.cat_file(path)) if self._files.exists(path) else None

  def forget(self, name: str) -> None:
    """Removes that code."""
    if self._files.exists(self._mark(name)):
      self._files.rm_file(self._mark(name))

  def _mark(self, name: str) -> str:
    return posixpath.join(self._root, ".launch", f"{name}.ended")
