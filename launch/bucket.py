"""Access of a launcher to a work directory in a bucket."""

from pathlib import Path

from launch.jobs import Job
from resjax import files, records

RECORDS = ("run.json", "config.json", "input.npz", *(f"{log}*.jsonl" for log in records.LOG_KEYS))


class Bucket:
  """A work directory in a bucket."""

  def __init__(self, address: str):
    """Creates the object for an address such as "gs://bucket/folder"."""
    self._root = files.as_path(address)

  def collect(self, jobs: list[Job], into: Path) -> None:
    """Copies new records of runs, without checkpoints, to a local work directory.

    Runs whose local copy is finished are skipped. A part of a log changes only when a run resumes at an earlier step,
    and then changes its size. run.json is copied last, so that a finished local copy is complete.

    Args:
      jobs: Jobs whose records are copied.
      into: Local work directory.
    """
    for job in jobs:
      remote, local = self._root / job.run.folder / job.run.id, into / job.run.folder / job.run.id
      if (local / "run.json").exists() and records.read_run(local).run["status"] == records.DONE:
        continue
      remote_sizes = {name: size for name, size in files.sizes(remote).items() if any(map(Path(name).match, RECORDS))}
      new = [name for name, size in remote_sizes.items() if name.endswith(".json") or size != _size(local / name)]
      new.sort(key=lambda name: name == "run.json")
      for name, content in zip(new, files.read_all([remote / name for name in new]), strict=True):
        local.mkdir(parents=True, exist_ok=True)
        if not (local / name).exists() or (local / name).read_bytes() != content:
          files.write_atomically(local / name, content)

  def ended(self, name: str) -> int | None:
    """Returns the exit code that a slice wrote after all of its runs ended, or None.

    Args:
      name: Name that `startup.script` got.
    """
    path = self._root / ".launch" / f"{name}.ended"
    return int(path.read_text()) if path.exists() else None


def _size(path: Path) -> int:
  return path.stat().st_size if path.exists() else -1
