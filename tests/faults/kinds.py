"""The kinds of faults, each a function that injects one fault into a run and returns the outcome."""

import contextlib
import dataclasses
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import short_run
from tests.faults.runs import Runs, file_contents, is_clear_error, reproducible_records

IDENTICAL, CLEAR_ERROR, LOST = "identical", "clear error", "lost"
ONE_RUN, SWEEP = short_run.ONLY, "depth=8,20 kind=plain,residual"
Inject = Callable[[Runs, Path, Path, dict, random.Random], str]


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of fault.

  Attributes:
    description: Description for the table of outcomes.
    share: Number of faults of this kind for each kill at a random moment.
    inject: Function of (runs, workdir, root, expected, rng) that injects the fault into a run in the directory
      `workdir` and returns the outcome. `root` contains the work directories `one` and `sweep` of uninterrupted runs,
      and `expected` their reproducible records.
  """

  description: str
  share: float
  inject: Inject


def _outcome(runs: Runs, workdir: Path, expected: dict, only: str = ONE_RUN) -> str:
  """Runs the command until it completes and compares the records with those of uninterrupted runs."""
  code, _ = runs.run_to_completion(workdir, only)
  return IDENTICAL if code == 0 and reproducible_records(workdir) == expected else LOST


def _wait_for(process: subprocess.Popen, condition: Callable[[], bool]) -> None:
  """Waits until the condition is true or the process has exited."""
  while process.poll() is None and not condition():
    time.sleep(0.01)


def _kill_at_random(runs: Runs, workdir: Path, only: str, rng: random.Random) -> None:
  """Starts the command and kills it at a random moment between its start and its end."""
  process = runs.start(workdir, only)
  name = rng.choice(["run.json", "metrics.jsonl", "metrics.jsonl", "checkpoints"])
  _wait_for(process, lambda: bool(list(workdir.glob(f"*/*/{name}"))))
  time.sleep(rng.uniform(0, 3))
  process.kill()
  short_run.finish(process)


def killed(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Sends SIGKILL at a random moment."""
  _kill_at_random(runs, workdir, ONE_RUN, rng)
  return _outcome(runs, workdir, expected["one"])


def saving(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Sends SIGKILL while a checkpoint still has its temporary name."""
  process, skipped = runs.start(workdir), rng.randrange(3)
  seen: set[Path] = set()

  def is_saving() -> bool:
    seen.update(workdir.glob("*/*/checkpoints/*.orbax-checkpoint-tmp*"))
    return len(seen) > skipped

  _wait_for(process, is_saving)
  process.kill()
  short_run.finish(process)
  return _outcome(runs, workdir, expected["one"])


def restarted(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Kills a sweep of four runs and restarts it, up to 20 times."""
  for _ in range(20):
    _kill_at_random(runs, workdir, SWEEP, rng)
  return _outcome(runs, workdir, expected["sweep"], SWEEP)


def _interrupted_workdir(runs: Runs, root: Path) -> Path:
  """Returns the work directory of a run that was killed after half of its steps; it is created once."""
  interrupted = root / "half"
  if not interrupted.exists():
    process = runs.start(interrupted)
    _wait_for(process, lambda: bool(list(interrupted.glob("*/*/checkpoints/30"))))
    process.kill()
    short_run.finish(process)
  return interrupted


def _copy_interrupted(runs: Runs, workdir: Path, root: Path) -> Path:
  """Copies the interrupted run to a work directory and returns its run directory there."""
  shutil.copytree(_interrupted_workdir(runs, root), workdir)
  return next(workdir.glob("*/*/run.json")).parent


def flipped(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Flips one bit of one file of the newest checkpoint."""
  directory = _copy_interrupted(runs, workdir, root)
  newest = max((p for p in (directory / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
  path = rng.choice(sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size))
  content = bytearray(path.read_bytes())
  content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
  path.write_bytes(content)
  return _outcome(runs, workdir, expected["one"])


def torn(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Truncates the last line of a log and inserts an incomplete line of another writer."""
  directory = _copy_interrupted(runs, workdir, root)
  path = directory / rng.choice(["metrics.jsonl", "responses.jsonl"])
  lines = path.read_bytes().splitlines(keepends=True)
  lines.insert(rng.randrange(len(lines) + 1), b'{"step": 3, "spl\n')
  path.write_bytes(b"".join(lines) + lines[-1][: rng.randrange(1, 20)])
  return _outcome(runs, workdir, expected["one"])


def _signal_one_of_two(runs: Runs, workdir: Path, expected: dict, number: int, rng: random.Random) -> str:
  """Sends a signal to one of two processes that train one run, and continues the run in one process."""
  pair = runs.start_pair(workdir)
  _wait_for(pair[0], lambda: bool(list(workdir.glob("*/*/checkpoints/10"))))
  rng.choice(pair).send_signal(number)
  codes = {short_run.finish(process)[0] for process in pair}
  if number == signal.SIGTERM and codes not in ({75}, {0}):
    return LOST
  return _outcome(runs, workdir, expected["one"])


def one_of_two_killed(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Sends SIGKILL to one of two processes."""
  return _signal_one_of_two(runs, workdir, expected, signal.SIGKILL, rng)


def one_of_two_stopped(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Sends SIGTERM to one of two processes."""
  return _signal_one_of_two(runs, workdir, expected, signal.SIGTERM, rng)


def full(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Fills the disk during the run, then makes room and continues the run."""
  with small_disk(workdir, f"{rng.randrange(200, 1400)}k"):  # the finished run takes 1.5 MB
    code, err = runs.run_to_completion(workdir)
    if code not in (1, 2) or "Traceback" in err:
      return LOST
    subprocess.run(["mount", "-o", "remount,size=500m", str(workdir)], check=True)
    return _outcome(runs, workdir, expected["one"])


def read_only(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Continues a run on a disk that is mounted read-only."""
  with small_disk(workdir, "500m"):
    shutil.copytree(_interrupted_workdir(runs, root), workdir, dirs_exist_ok=True)
    before = file_contents(workdir)
    subprocess.run(["mount", "-o", "remount,ro", str(workdir)], check=True)
    code, err = runs.run_to_completion(workdir)
    return CLEAR_ERROR if is_clear_error(code, err) and file_contents(workdir) == before else LOST


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
  """Mounts an in-memory disk of limited size.

  Args:
    path: Directory to create and mount the disk at.
    size: Size of the disk as for tmpfs, such as "700k".

  Raises:
    subprocess.CalledProcessError: The user is not allowed to mount disks.
  """
  path.mkdir(parents=True)
  subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
  try:
    yield
  finally:
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def two_writers(runs: Runs, workdir: Path, root: Path, expected: dict, rng: random.Random) -> str:
  """Starts the command a second time during the run: the second process must refuse, the first must not notice."""
  first = runs.start(workdir)
  _wait_for(first, lambda: bool(list(workdir.glob("*/*/metrics.jsonl"))))
  first.send_signal(signal.SIGSTOP)  # otherwise it would complete before the second process has started
  code, err = runs.run_to_completion(workdir)
  first.send_signal(signal.SIGCONT)
  short_run.finish(first)
  if reproducible_records(workdir) != expected["one"]:
    return LOST
  return CLEAR_ERROR if is_clear_error(code, err) else LOST


KINDS = {
  "killed": Kind("SIGKILL at a random moment", 1.0, killed),
  "saving": Kind("SIGKILL while a checkpoint is saved", 0.1, saving),
  "flipped": Kind("one bit of the newest checkpoint flipped", 0.3, flipped),
  "torn": Kind("truncated and interleaved log lines", 0.1, torn),
  "restarted": Kind("a sweep of four runs, killed and restarted 20 times", 0.01, restarted),
  "one_of_two_killed": Kind("SIGKILL to one of two processes", 0.03, one_of_two_killed),
  "one_of_two_stopped": Kind("SIGTERM to one of two processes", 0.03, one_of_two_stopped),
  "full": Kind("disk full, later with free space again", 0.03, full),
  "read_only": Kind("disk mounted read-only", 0.01, read_only),
  "two_writers": Kind("two processes on one run directory", 0.03, two_writers),
}
