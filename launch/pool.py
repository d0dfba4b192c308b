"""Pool of processes, one per slot; runs that a signal from outside stopped are started again."""

import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from launch.jobs import Job
from launch.resources import Slot
from resjax import experiment_cli

POLL = 0.1  # seconds between two looks at the processes


class Pool:
  """Jobs in progress, at most one per slot.

  Attributes:
    codes: Final exit code of each finished job.
  """

  def __init__(
    self,
    slots: Sequence[Slot],
    start: Callable[[Job, Slot], subprocess.Popen],
    tell: Callable[[str], None],
  ):
    """Installs handlers for SIGTERM, SIGINT and SIGHUP that forward the signal and start no more jobs.

    Under nohup, SIGHUP stays ignored.

    Args:
      slots: Slots that jobs are assigned to, one job at a time each.
      start: Function that starts a job in a slot, in its own process group, so that only the pool signals it.
      tell: Function that prints one line for the user.
    """
    self._slots, self._start, self._tell = list(slots), start, tell
    self._running: dict[Slot, tuple[Job, subprocess.Popen]] = {}
    self._waiting: deque[Job] = deque()
    self._stopping = False
    self._signals: deque[int] = deque()  # received, but not forwarded yet
    self.codes: dict[Job, int] = {}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
      if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, self._stop)

  def run(self, jobs: Sequence[Job]) -> int:
    """Executes the jobs; returns the common exit code.

    75: stopped by a signal; 2: a command was invalid, and no further job was started; 1: a run failed; 0: all done.
    """
    self._waiting.extend(jobs)
    while self._running or (self._waiting and self._may_start):
      for slot in self._slots:
        if self._waiting and self._may_start and slot not in self._running:
          job = self._waiting.popleft()
          self._running[slot] = job, self._start(job, slot)
          self._tell(f"{job.run.id} at {slot}")
      time.sleep(POLL)
      self._forward_signals()
      for slot, (job, process) in list(self._running.items()):
        if (code := process.poll()) is not None:
          del self._running[slot]
          self._handle_exit(job, code)
    ends = set(self.codes.values())
    if self._stopping and (self._waiting or experiment_cli.PREEMPTED in ends):
      return experiment_cli.PREEMPTED
    return (
      experiment_cli.WRONG
      if experiment_cli.WRONG in ends
      else experiment_cli.FAILED
      if ends - {experiment_cli.DONE}
      else experiment_cli.DONE
    )

  @property
  def _may_start(self) -> bool:
    """Whether further jobs may be started."""
    return not self._stopping and experiment_cli.WRONG not in self.codes.values()

  def _handle_exit(self, job: Job, code: int) -> None:
    if code in (
      experiment_cli.PREEMPTED,
      -signal.SIGTERM,
      -signal.SIGINT,
    ):  # killed by a second signal before it could save
      code = experiment_cli.PREEMPTED
      if not self._stopping:
        self._tell(f"{job.run.id} was stopped by a signal and is restarted")
        self._waiting.appendleft(job)
        return
    self.codes[job] = code
    ends = {experiment_cli.DONE: "done", experiment_cli.WRONG: "cannot be started", experiment_cli.PREEMPTED: "stopped"}
    self._tell(f"{job.run.id} {ends.get(code, f'killed by signal {-code}' if code < 0 else 'failed')}")

  def _stop(self, number: int, _: Any) -> None:
    """Stores a signal, which the loop forwards later because it may arrive while a process is being started."""
    self._stopping = True
    self._signals.append(number)

  def _forward_signals(self) -> None:
    """Forwards signals; a second one ends the runs immediately, as it does without a launcher."""
    while self._signals:
      number = self._signals.popleft()
      for _, process in self._running.values():
        process.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
