"""A log as it is after a process was killed while it wrote a line."""

from pathlib import Path


def tear(path: Path, lines: int, fragment: bytes) -> None:
  """Truncates a log.

  Args:
    path: Log file.
    lines: Number of complete lines to keep.
    fragment: Beginning of the line that was being written.
  """
  path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]) + fragment)
