"""Serves the report of a running sweep on this machine and rebuilds it when the logs have grown.

The page asks every few seconds whether there is a newer one, and shows it. Files on disk stay those of `page.build`:
only what is served carries the script that asks.
"""

import hashlib
import html
import http.server
import os
import threading
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

from resjax import records, study_records
from resjax.analysis import page

# For who sits at this machine (or has a tunnel to it): a report is not for the whole network.
HOST = "127.0.0.1"
EVERY = 5  # seconds between questions for a newer page
_VERSION = "/version"
_TYPES = {".html": "text/html; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".svg": "image/svg+xml"}
_FOLLOW = """<script>
setInterval(async () => {
  try {
    const newest = await (await fetch("%s", {cache: "no-store"})).text();
    if (newest !== "%s") location.reload();
  } catch (gone) { /* the server has ended: what was last seen stays */ }
}, %d);
</script>
</body>"""


class Report:
  """The report of a directory of runs, kept up to date with the logs.

  Args:
    root: an experiment's directory, or a parent of several.

  Raises:
    records.RecordsError: `page.build` cannot make a report of it.
  """

  def __init__(self, root: str | os.PathLike[str]):
    self.root = Path(root)
    self._lock = threading.Lock()
    self._built = self.version()
    self.page = page.build(self.root)

  def version(self) -> str:
    """Returns a digest of names, sizes and modification times of all logs."""
    seen = hashlib.sha256()
    for directory in records.find_runs(self.root):
      for folder in (directory, directory / study_records.FOLDER):
        for path in sorted(folder.glob("*.json*")):
          try:
            status = path.stat()
          except FileNotFoundError:
            continue  # replaced just now
          seen.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return seen.hexdigest()

  def refresh(self) -> str:
    """Rebuilds the report if the logs have changed; returns the version it shows."""
    with self._lock:
      version = self.version()
      if version != self._built:
        self.page = page.build(self.root)
        self._built = version
      return version

  def file(self, path: str) -> tuple[str, bytes] | None:
    """Returns type and content of a page, table or figure below the root; None for anything else.

    Args:
      path: relative, with slashes.
    """
    target = (self.root / path).resolve()
    kind = _TYPES.get(target.suffix)
    if kind is None or not target.is_relative_to(self.root.resolve()) or not target.is_file():
      return None
    if target.suffix != ".html":
      return kind, target.read_bytes()
    version = self.refresh()
    script = _FOLLOW % (_VERSION, version, 1000 * EVERY)
    return kind, target.read_text("utf-8").replace("</body>", script).encode()


def server(root: str | os.PathLike[str], port: int) -> http.server.ThreadingHTTPServer:
  """Returns a server of the report of `root` at `port` (0: any free port); call its `serve_forever`.

  Raises:
    records.RecordsError: there is no report to make of `root`.
    OSError: the port is taken.
  """
  report = Report(root)

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
      path = unquote(urlsplit(self.path).path)
      if path == _VERSION:
        self._answer("text/plain", report.version().encode())
      elif path == "/":
        self.send_response(HTTPStatus.FOUND)
        self.send_header("Location", f"/{report.page.relative_to(report.root).as_posix()}")
        self.end_headers()
      else:
        try:
          found = report.file(path.lstrip("/"))
        except records.RecordsError as error:
          self._answer(_TYPES[".html"], f"<!doctype html><p>{html.escape(str(error))}".encode())
          return
        if found is None:
          self.send_error(HTTPStatus.NOT_FOUND)
        else:
          self._answer(*found)

    def _answer(self, kind: str, content: bytes) -> None:
      self.send_response(HTTPStatus.OK)
      self.send_header("Content-Type", kind)
      self.send_header("Content-Length", str(len(content)))
      self.send_header("Cache-Control", "no-store")
      self.end_headers()
      self.wfile.write(content)

    def log_message(self, *_: object) -> None:
      """Logs nothing, because a line per request would bury the address."""

  return http.server.ThreadingHTTPServer((HOST, port), Handler)
