"""A work directory in a bucket, as its launcher sees it."""

from pathlib import Path

from launch.jobs import Job
from resjax import files, records

RECORDS = ("run.json", "config.json", "input.npz", "metrics*.jsonl", "responses*.jsonl", "gradients*.jsonl")


class Bucket:
  """A work directory in a bucket."""

  def __init__(self, address: str):
    """Takes its address, "gs://bucket/folder"."""
    self._root = files.as_path(address)

  def collect(self, jobs: list[Job], into: Path) -> None:
    """Copies what is new of the records of runs, not their checkpoints, into a work directory here.

    A run that is done here is not looked at again. Parts of a log change in size only, when a run goes on at an earlier
    step; run.json comes last, so that a run that is done here is here as a whole.
    """
    for job in jobs:
      there, here = self._root / job.run.folder / job.run.id, into / job.run.folder / job.run.id
      if (here / "run.json").exists() and records.read_run(here).run["status"] == records.DONE:
        continue
      found = {name: size for name, size in files.sizes(there).items() if any(map(Path(name).match, RECORDS))}
      new = [name for name, size in found.items() if name.endswith(".json") or size != _size(here / name)]
      new.sort(key=lambda name: name == "run.json")
      for name, content in zip(new, files.read_all([there / name for name in new]), strict=True):
        here.mkdir(parents=True, exist_ok=True)
        if not (here / name).exists() or (here / name).read_bytes() != content:
          files.write_atomically(here / name, content)

  def ended(self, name: str) -> int | None:
    """Returns the exit code that a slice left when all of its runs were over, or None."""
    path = self._mark(name)
    return int(path.read_text()) if path.exists() else None

  def forget(self, name: str) -> None:
    """Removes that code."""
    self._mark(name).unlink(missing_ok=True)

  def _mark(self, name: str) -> Path:
    return self._root / ".launch" / f"{name}.ended"


def _size(path: Path) -> int:
  return path.stat().st_size if path.exists() else -1
