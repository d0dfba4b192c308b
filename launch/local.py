"""Executes the runs of an experiment on this machine, several at a time, each on its own cores and GPUs.

    python -m launch.local --jobs N --config FILE[:VARIANT] [--only EXPR] [--workdir DIR] [--config.KEY=VALUE ...]
    python -m launch.local --config FILE --status

The same command continues interrupted runs. A run that was stopped (exit code 75) is restarted, unless this command
itself was stopped: it forwards SIGTERM, SIGINT and SIGHUP, and the runs save their states and exit. The output of a run
is in DIR/.launch/EXPERIMENT/ID.log. Exit codes are those of resjax.main.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from absl import flags

from launch import jobs, resources
from launch.jobs import Job
from launch.pool import Pool
from launch.resources import Slot
from resjax import experiment_cli

_JOBS = flags.DEFINE_integer(
  "jobs", 0, "Number of concurrent runs; 0: one per GPU, or one without GPUs.", lower_bound=0
)
_GPUS = flags.DEFINE_string("gpus", "all", "GPUs to use: comma-separated indices, all or none.")
flags.adopt_module_key_flags(jobs)


def main() -> int:
  """Executes the runs that the command line selects and returns the exit code."""
  every = jobs.selected_jobs()
  if jobs.STATUS.value:
    print(jobs.table(every))
    return experiment_cli.DONE
  gpus = resources.gpus() if _GPUS.value == "all" else [] if _GPUS.value == "none" else _GPUS.value.split(",")
  shares, wanted = resources.make(_JOBS.value, gpus), jobs.unfinished(every)
  if jobs.DRY_RUN.value:
    print(f"# {len(wanted)} runs in {len(shares)} slots; each takes the next slot that is free")
    for i, job in enumerate(wanted):
      print(_shell_line(job, shares[i % len(shares)]))
    return experiment_cli.DONE
  pool = Pool(shares, _start, lambda line: print(line, file=sys.stderr, flush=True))
  code = pool.run(wanted)
  for job, end in pool.codes.items():
    if end == experiment_cli.WRONG:
      print("\n".join(_log(job).read_text().splitlines()[-1:]), file=sys.stderr)
  print(jobs.table(every))
  return code


def _start(job: Job, slot: Slot) -> subprocess.Popen:
  log = _log(job)
  log.parent.mkdir(parents=True, exist_ok=True)
  with log.open("ab") as file:
    return subprocess.Popen(
      slot.command(job.command(sys.executable)),
      env=os.environ | slot.environment(job.workdir),
      stdin=subprocess.DEVNULL,
      stdout=file,
      stderr=file,
      process_group=0,
    )


def _shell_line(job: Job, slot: Slot) -> str:
  """Returns the command as a line for a shell."""
  told = [f"{name}={shlex.quote(value)}" for name, value in slot.environment(job.workdir).items()]
  return " ".join([*told, shlex.join(slot.command(job.command(sys.executable)))])


def _log(job: Job) -> Path:
  return Path(job.workdir) / ".launch" / job.run.folder / f"{job.run.id}.log"


if __name__ == "__main__":
  jobs.start(main)
