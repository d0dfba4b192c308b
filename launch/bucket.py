"""A work directory in a bucket, as its launcher sees it."""

from pathlib import Path

from launch.jobs import Job
from resjax import files

LOGS = ("run.json", "config.json", "input.npz", "metrics*.jsonl", "responses*.jsonl", "gradients*.jsonl")


class Bucket:
  """A work directory in a bucket."""

  def __init__(self, address: str):
    """Takes its address, "gs://bucket/folder"."""
    self._root = files.place(address)

  def collect(self, jobs: list[Job], into: Path) -> None:
    """Copies the records of runs, not their checkpoints, into a work directory here."""
    for job in jobs:
      there, here = self._root / job.run.folder / job.run.id, into / job.run.folder / job.run.id
      for name in LOGS:
        for path in there.glob(name):
          here.mkdir(parents=True, exist_ok=True)
          (here / path.name).write_bytes(path.read_bytes())

  def ended(self, name: str) -> int | None:
    """Returns the exit code that a slice left when all of its runs were over, or None."""
    path = self._mark(name)
    return int(path.read_text()) if path.exists() else None

  def forget(self, name: str) -> None:
    """Removes that code."""
    self._mark(name).unlink(missing_ok=True)

  def _mark(self, name: str) -> Path:
    return self._root / ".launch" / f"{name}.ended"
