"""Controls a headless Chromium through its debugging pipe: opens pages, records their requests and errors."""

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

CHROMIUM = next(
  (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
DESKTOP, PHONE = (1280, 900), (390, 844)  # width and height of the window in CSS pixels
_TIMEOUT_SECONDS = 60
_FLAGS = (
  *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
  *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)


class Page:
  """One page of a running browser.

  Attributes:
    requests: URLs that the page has requested since it was opened.
    console_errors: Warnings, errors and exceptions that the page has caused since it was opened.
  """

  def __init__(self, read: int, write: int):
    """Opens an empty page.

    Args:
      read: File descriptor of the pipe from the browser.
      write: File descriptor of the pipe to the browser.
    """
    self._read, self._write = read, write
    self._unparsed, self._last_id, self._session = b"", 0, None
    self.requests: list[str] = []
    self.console_errors: list[str] = []
    target = self.call("Target.createTarget", url="about:blank")["targetId"]
    self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Log", "Runtime"):
      self.call(f"{domain}.enable")

  def call(self, method: str, **parameters: Any) -> dict[str, Any]:
    """Calls a method of the Chrome DevTools Protocol and returns its result.

    Raises:
      RuntimeError: The browser reported an error, or has exited.
      TimeoutError: The browser did not answer.
    """
    self._last_id += 1
    message = {"id": self._last_id, "method": method, "params": parameters}
    if self._session:
      message["sessionId"] = self._session
    os.write(self._write, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._read_message()
      if answer.get("id") == self._last_id:
        if "error" in answer:
          raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

  def open(self, url: str, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> float:
    """Opens a URL and returns the seconds until the page was loaded and laid out.

    Args:
      url: Address of the page.
      size: Size of the window, `DESKTOP` or `PHONE`.
      scheme: Preferred color scheme, "light" or "dark".
    """
    width, height = size
    self.requests, self.console_errors = [], []
    mobile = {"mobile": size == PHONE, "deviceScaleFactor": 1}
    self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **mobile)
    self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    start = time.perf_counter()
    self.call("Page.navigate", url=url)
    while self.evaluate("document.readyState + location.href") != f"complete{url}":
      time.sleep(0.02)
    self.evaluate("document.body.getBoundingClientRect().height")
    return time.perf_counter() - start

  def evaluate(self, expression: str) -> Any:
    """Returns the value of a JavaScript expression."""
    answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
    if "exceptionDetails" in answer:
      raise RuntimeError(str(answer["exceptionDetails"]))
    return answer["result"].get("value")

  def screenshot(self, path: Path) -> None:
    """Writes a screenshot of the whole page as PNG."""
    size = self.call("Page.getLayoutMetrics")["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    path.write_bytes(base64.b64decode(shot["data"]))

  def _read_message(self) -> dict[str, Any]:
    """Returns the next message of the browser, after recording it if it is an event."""
    while b"\0" not in self._unparsed:
      if not select.select([self._read], [], [], _TIMEOUT_SECONDS)[0]:
        raise TimeoutError(f"the browser sent no message for {_TIMEOUT_SECONDS} s")
      received = os.read(self._read, 1 << 20)
      if not received:
        raise RuntimeError("the browser has exited")
      self._unparsed += received
    raw, self._unparsed = self._unparsed.split(b"\0", 1)
    message = json.loads(raw)
    self._record_event(message.get("method"), message.get("params", {}))
    return message

  def _record_event(self, method: str | None, parameters: dict[str, Any]) -> None:
    match method:
      case "Network.requestWillBeSent":
        self.requests.append(parameters["request"]["url"])
      case "Log.entryAdded":
        self.console_errors.append(parameters["entry"]["text"])
      case "Runtime.exceptionThrown":
        self.console_errors.append(parameters["exceptionDetails"]["text"])
      case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
        self.console_errors.append(str(parameters["args"]))


@contextlib.contextmanager
def open_page(profile: Path) -> Iterator[Page]:
  """Starts a browser, yields an empty page of it, and kills it at the end.

  Args:
    profile: Empty directory for the user profile of the browser.
  """
  assert CHROMIUM
  to_read, to_write = os.pipe()
  from_read, from_write = os.pipe()
  # The browser reads from descriptor 3 and writes to 4, which these pipes must not occupy. `preexec_fn` would also do,
  # but it forks, and JAX warns of a fork if another test has started JAX.
  high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20) for descriptor in (to_read, from_write)]
  browser = os.posix_spawn(
    CHROMIUM,
    [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"],
    os.environ,
    file_actions=[
      *((os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_WRONLY, 0) for descriptor in (1, 2)),
      *((os.POSIX_SPAWN_DUP2, descriptor, target) for descriptor, target in zip(high, (3, 4), strict=True)),
    ],
  )
  for descriptor in (to_read, from_write, *high):
    os.close(descriptor)
  try:
    yield Page(from_read, to_write)
  finally:
    os.kill(browser, signal.SIGKILL)
    os.waitpid(browser, 0)
    os.close(to_write)
    os.close(from_read)
