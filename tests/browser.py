"""A headless Chromium over its debugging pipe: opens a page, says what it asked for and complained of, shows it."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = next(
  (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
DESKTOP, PHONE = (1280, 900), (390, 844)
_SECONDS = 60
_QUIET = (
  *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
  *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)


class Page:
  """One page of a running browser. `requests` and `complaints` gather what happens on it."""

  def __init__(self, read: int, write: int):
    self._read, self._write = read, write
    self._rest, self._number, self._session = b"", 0, None
    self.requests: list[str] = []
    self.complaints: list[str] = []
    target = self.call("Target.createTarget", url="about:blank")["targetId"]
    self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Log", "Runtime"):
      self.call(f"{domain}.enable")

  def call(self, method: str, **parameters: Any) -> dict[str, Any]:
    """Asks the browser for something and waits for its answer."""
    self._number += 1
    message = {"id": self._number, "method": method, "params": parameters}
    if self._session:
      message["sessionId"] = self._session
    os.write(self._write, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._next()
      if answer.get("id") == self._number:
        if "error" in answer:
          raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

  def open(self, url: str, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> float:
    """Shows `url` and returns the seconds until it was loaded and laid out."""
    width, height = size
    self.requests, self.complaints = [], []
    mobile = {"mobile": size == PHONE, "deviceScaleFactor": 1}
    self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **mobile)
    self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    start = time.perf_counter()
    self.call("Page.navigate", url=url)
    while self.run("document.readyState + location.href") != f"complete{url}":
      time.sleep(0.02)
    self.run("document.body.getBoundingClientRect().height")
    return time.perf_counter() - start

  def run(self, expression: str) -> Any:
    """The value of a JavaScript expression."""
    answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
    if "exceptionDetails" in answer:
      raise RuntimeError(str(answer["exceptionDetails"]))
    return answer["result"].get("value")

  def picture(self, path: Path) -> None:
    """Writes the whole page as PNG."""
    size = self.call("Page.getLayoutMetrics")["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    path.write_bytes(base64.b64decode(shot["data"]))

  def _next(self) -> dict[str, Any]:
    while b"\0" not in self._rest:
      if not select.select([self._read], [], [], _SECONDS)[0]:
        raise TimeoutError(f"the browser said nothing for {_SECONDS} s")
      more = os.read(self._read, 1 << 20)
      if not more:
        raise RuntimeError("the browser has ended")
      self._rest += more
    raw, self._rest = self._rest.split(b"\0", 1)
    message = json.loads(raw)
    self._note(message.get("method"), message.get("params", {}))
    return message

  def _note(self, method: str | None, said: dict[str, Any]) -> None:
    match method:
      case "Network.requestWillBeSent":
        self.requests.append(said["request"]["url"])
      case "Log.entryAdded":
        self.complaints.append(said["entry"]["text"])
      case "Runtime.exceptionThrown":
        self.complaints.append(said["exceptionDetails"]["text"])
      case "Runtime.consoleAPICalled" if said["type"] in ("error", "warning", "assert"):
        self.complaints.append(str(said["args"]))


@contextlib.contextmanager
def started(profile: Path) -> Iterator[Page]:
  """A browser with an empty profile, ended with the `with`."""
  assert PROGRAM
  to_read, to_write = os.pipe()
  from_read, from_write = os.pipe()
  # The browser reads at descriptor 3 and writes at 4; ours must not be in the way. A function between fork and exec
  # would do this as well, but forks, of which JAX warns where another test has started it.
  far = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20) for descriptor in (to_read, from_write)]
  browser = os.posix_spawn(
    PROGRAM,
    [PROGRAM, *_QUIET, f"--user-data-dir={profile}"],
    os.environ,
    file_actions=[
      *((os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_WRONLY, 0) for descriptor in (1, 2)),
      *((os.POSIX_SPAWN_DUP2, descriptor, place) for descriptor, place in zip(far, (3, 4), strict=True)),
    ],
  )
  for descriptor in (to_read, from_write, *far):
    os.close(descriptor)
  try:
    yield Page(from_read, to_write)
  finally:
    os.kill(browser, signal.SIGKILL)
    os.waitpid(browser, 0)
    os.close(to_write)
    os.close(from_read)
