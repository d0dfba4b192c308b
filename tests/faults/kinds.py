"""The kinds of faults. Each is a function that disturbs a run once and says what came of it."""

import contextlib
import dataclasses
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.runs import Runs, contents, finish, is_clear, what_counts

IDENTICAL, CLEAR, LOST = "identical", "clear error", "lost"
ONE, SWEEP = "depth=8 kind=residual", "depth=8,20 kind=plain,residual"
Once = Callable[[Runs, Path, Path, dict, random.Random], str]


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of fault.

  Attributes:
    what: in words.
    share: how often it is tried, times `--times`.
    once: `(runs, place, root, expected, draw)`: disturbs a run in the directory `place`; `root` holds the undisturbed
      ones, `one` and `sweep`, and `expected` what counts of them. Returns what came of it.
  """

  what: str
  share: float
  once: Once


def _outcome(runs: Runs, place: Path, expected: dict, only: str = ONE) -> str:
  """Gives the command again until it ends, and compares."""
  code, _ = runs.to_the_end(place, only)
  return IDENTICAL if code == 0 and what_counts(place) == expected else LOST


def _until(process: subprocess.Popen, there: Callable[[], bool]) -> None:
  while process.poll() is None and not there():
    time.sleep(0.01)


def _killed(runs: Runs, place: Path, only: str, draw: random.Random) -> None:
  """Starts the command and kills it at a random moment between its start and its end."""
  process = runs.start(place, only)
  name = draw.choice(["run.json", "metrics.jsonl", "metrics.jsonl", "checkpoints"])
  _until(process, lambda: bool(list(place.glob(f"*/*/{name}"))))
  time.sleep(draw.uniform(0, 3))
  process.kill()
  finish(process)


def killed(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """SIGKILL at a random moment."""
  _killed(runs, place, ONE, draw)
  return _outcome(runs, place, expected["one"])


def saving(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """SIGKILL while a checkpoint still has its temporary name."""
  process, skipped = runs.start(place), draw.randrange(3)
  seen: set[Path] = set()

  def is_saving() -> bool:
    seen.update(place.glob("*/*/checkpoints/*.orbax-checkpoint-tmp*"))
    return len(seen) > skipped

  _until(process, is_saving)
  process.kill()
  finish(process)
  return _outcome(runs, place, expected["one"])


def restarted(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """A sweep of four runs killed and started again, up to 20 times."""
  for _ in range(20):
    _killed(runs, place, SWEEP, draw)
  return _outcome(runs, place, expected["sweep"], SWEEP)


def _half_of(runs: Runs, root: Path) -> Path:
  """Returns the work directory of a run that was stopped in the middle, made once."""
  half = root / "half"
  if not half.exists():
    process = runs.start(half)
    _until(process, lambda: bool(list(half.glob("*/*/checkpoints/30"))))
    process.kill()
    finish(process)
  return half


def flipped(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """A bit of a file of the newest checkpoint is another."""
  directory = _copied_half(runs, place, root)
  newest = max((p for p in (directory / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
  path = draw.choice(sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size))
  content = bytearray(path.read_bytes())
  content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
  path.write_bytes(content)
  return _outcome(runs, place, expected["one"])


def torn(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """A log ends in the middle of a line, and another writer's half line stands in it."""
  directory = _copied_half(runs, place, root)
  path = directory / draw.choice(["metrics.jsonl", "responses.jsonl"])
  lines = path.read_bytes().splitlines(keepends=True)
  lines.insert(draw.randrange(len(lines) + 1), b'{"step": 3, "spl\n')
  path.write_bytes(b"".join(lines) + lines[-1][: draw.randrange(1, 20)])
  return _outcome(runs, place, expected["one"])


def _copied_half(runs: Runs, place: Path, root: Path) -> Path:
  """Returns the run directory of a copy of one run that was stopped in the middle."""
  shutil.copytree(_half_of(runs, root), place)
  return next(place.glob("*/*/run.json")).parent


def _pair(runs: Runs, place: Path) -> tuple[subprocess.Popen, subprocess.Popen]:
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  return runs.start(place, member=0, port=port), runs.start(place, member=1, port=port)


def _disturbed_pair(runs: Runs, place: Path, expected: dict, number: int, draw: random.Random) -> str:
  """Two processes train one run; one of them gets a signal. Then the run goes on in one process."""
  pair = _pair(runs, place)
  _until(pair[0], lambda: bool(list(place.glob("*/*/checkpoints/10"))))
  draw.choice(pair).send_signal(number)
  codes = {finish(process)[0] for process in pair}
  if number == signal.SIGTERM and codes not in ({75}, {0}):
    return LOST
  return _outcome(runs, place, expected["one"])


def one_of_two_killed(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """SIGKILL to one of two processes."""
  return _disturbed_pair(runs, place, expected, signal.SIGKILL, draw)


def one_of_two_stopped(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """SIGTERM to one of two processes."""
  return _disturbed_pair(runs, place, expected, signal.SIGTERM, draw)


def full(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """The disk is full in mid-run; then there is room again."""
  with small_disk(place, f"{draw.randrange(200, 1400)}k"):  # in the end it is 1.5 MB
    code, err = runs.to_the_end(place)
    if code not in (1, 2) or "Traceback" in err:
      return LOST
    subprocess.run(["mount", "-o", "remount,size=500m", str(place)], check=True)
    return _outcome(runs, place, expected["one"])


def read_only(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """The disk can only be read."""
  with small_disk(place, "500m"):
    shutil.copytree(_half_of(runs, root), place, dirs_exist_ok=True)
    before = contents(place)
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    code, err = runs.to_the_end(place)
    return CLEAR if is_clear(code, err) and contents(place) == before else LOST


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
  """A disk of so many bytes at `place`, which must not be there; subprocess.CalledProcessError without the right to."""
  place.mkdir(parents=True)
  subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
  try:
    yield
  finally:
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def two_writers(runs: Runs, place: Path, root: Path, expected: dict, draw: random.Random) -> str:
  """The same command a second time while it runs: the second says so, the first is not disturbed."""
  first = runs.start(place)
  _until(first, lambda: bool(list(place.glob("*/*/metrics.jsonl"))))
  first.send_signal(signal.SIGSTOP)  # or it would be done before the second one has started
  code, err = runs.to_the_end(place)
  first.send_signal(signal.SIGCONT)
  finish(first)
  if what_counts(place) != expected["one"]:
    return LOST
  return CLEAR if is_clear(code, err) else LOST


KINDS = {
  "killed": Kind("kill -9 at a random moment", 1.0, killed),
  "saving": Kind("kill -9 in the middle of a save", 0.1, saving),
  "flipped": Kind("a bit of the newest checkpoint flipped", 0.3, flipped),
  "torn": Kind("torn and interleaved log lines", 0.1, torn),
  "restarted": Kind("a sweep of four, killed and restarted 20 times", 0.01, restarted),
  "one_of_two_killed": Kind("kill -9 to one of two processes", 0.03, one_of_two_killed),
  "one_of_two_stopped": Kind("SIGTERM to one of two processes", 0.03, one_of_two_stopped),
  "full": Kind("disk full, then room again", 0.03, full),
  "read_only": Kind("disk read-only", 0.01, read_only),
  "two_writers": Kind("two writers on one run directory", 0.03, two_writers),
}
