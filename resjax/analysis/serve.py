"""Local web server for the report of a running sweep, which is rebuilt when the logs have changed.

The served page polls for a newer version and reloads itself. The script for this is added to the served pages only, not
to the files on disk.
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

HOST = "127.0.0.1"  # not reachable from the network without a tunnel
POLL_SECONDS = 5  # between requests for the version of the report
_VERSION = "/version"
_TYPES = {".html": "text/html; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".svg": "image/svg+xml"}
_RELOAD_SCRIPT = """<script>
setInterval(async () => {
  try {
    const newest = await (await fetch("%s", {cache: "no-store"})).text();
    if (newest !== "%s") location.reload();
  } catch (error) { /* the server has ended: the page stays as it is */ }
}, %d);
</script>
</body>"""


class Report:
  """The report of a directory of runs, rebuilt when the logs have changed.

  Args:
    root: Directory of an experiment, or a parent of several.

  Raises:
    records.RecordsError: `page.build` cannot build a report for the directory.
  """

  def __init__(self, root: str | os.PathLike[str]):
    self.root = Path(root)
    self._lock = threading.Lock()
    self._built = self.version()
    self.page = page.build(self.root)

  def version(self) -> str:
    """Returns a SHA-256 of names, sizes and modification times of all logs, in hexadecimal."""
    digest = hashlib.sha256()
    for directory in records.find_runs(self.root):
      for folder in (directory, directory / study_records.FOLDER):
        for path in sorted(folder.glob("*.json*")):
          try:
            status = path.stat()
          except FileNotFoundError:
            continue  # it is being replaced by another process
          digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()

  def refresh(self) -> str:
    """Rebuilds the report if the logs have changed, and returns its version."""
    with self._lock:
      version = self.version()
      if version != self._built:
        self.page = page.build(self.root)
        self._built = version
      return version

  def file(self, path: str) -> tuple[str, bytes] | None:
    """Returns a page, table or figure of the report.

    Args:
      path: Path relative to the root, with slashes.

    Returns:
      MIME type and content; None if there is no such file below the root, or it has another type.
    """
    target = (self.root / path).resolve()
    kind = _TYPES.get(target.suffix)
    if kind is None or not target.is_relative_to(self.root.resolve()) or not target.is_file():
      return None
    if target.suffix != ".html":
      return kind, target.read_bytes()
    version = self.refresh()
    script = _RELOAD_SCRIPT % (_VERSION, version, 1000 * POLL_SECONDS)
    return kind, target.read_text("utf-8").replace("</body>", script).encode()


def server(root: str | os.PathLike[str], port: int) -> http.server.ThreadingHTTPServer:
  """Creates the web server of a report; its method `serve_forever` starts it.

  Args:
    root: Directory of an experiment, or a parent of several.
    port: Port to listen on; 0 for any free port.

  Raises:
    records.RecordsError: `page.build` cannot build a report for the directory.
    OSError: The port is in use.
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
