"""Starts the runs of an experiment on a Slurm cluster as a job array, one task per run; stopped runs are requeued.

    python -m launch.slurm --config FILE[:VARIANT] [--only EXPR] [--workdir DIR] --time 240 --parallel 16 [--gpus 1]
    python -m launch.slurm --config FILE --status

Run it in the checkout on a machine with sbatch, with a work directory that all nodes share. Finished runs are skipped.
Do not run it again while an array of these runs is queued. Before the time limit, or when Slurm preempts its nodes, a
run saves its state and exits with code 75, and its job requeues itself. Logs and the batch script are in
DIR/.launch/slurm.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from absl import flags

from launch import jobs
from resjax import experiment_cli
from resjax.settings import ConfigError

_TIME = flags.DEFINE_integer("time", 240, "Time limit of a job in minutes, after which it requeues itself.", 1)
_PARALLEL = flags.DEFINE_integer("parallel", 16, "Maximum number of jobs that run at the same time.", 1)
_GRACE = flags.DEFINE_integer("grace", 120, "Seconds between SIGTERM and the end of a job.", 1)
_PARTITION = flags.DEFINE_string("partition", "", "Slurm's partition; empty: its default.")
_ACCOUNT = flags.DEFINE_string("account", "", "Slurm's account; empty: its default.")
_NODES = flags.DEFINE_integer("nodes", 1, "Nodes per run.", 1)
_TASKS = flags.DEFINE_integer("tasks", 1, "Processes per node of a run.", 1)
_CPUS = flags.DEFINE_integer("cpus", 1, "Cores per process.", 1)
_GPUS = flags.DEFINE_integer("gpus", 0, "GPUs per process.", 0)
_MEMORY = flags.DEFINE_float("memory", 0.0, "Memory per node in GB; 0: Slurm's default.", 0.0)
_SBATCH = flags.DEFINE_multi_string("sbatch", [], "Additional sbatch option: KEY=VALUE, such as constraint=a100.")
flags.adopt_module_key_flags(jobs)

# Runs in the batch script, which Slurm does not signal, after srun has ended. A cancelled job also exits with code 75,
# but is no longer running. The id without the task's index would name the whole array.
REQUEUE = """\
code=$?
id=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
if [ $code -eq 75 ] && [ "$(squeue --noheader --format=%T --jobs=$id)" = RUNNING ]; then scontrol requeue $id; fi
exit $code"""


def main() -> int:
  """Submits the runs that the command line selects; returns the exit code."""
  every = jobs.selected_jobs()
  if jobs.STATUS.value:
    print(jobs.table(every))
    return experiment_cli.DONE
  wanted, folder = jobs.unfinished(every), Path(jobs.WORKDIR.value).absolute() / ".launch" / "slurm"
  if not wanted:
    print("all runs are done")
    return experiment_cli.DONE
  import submitit  # imported here, because --help and --status do not need it

  if jobs.DRY_RUN.value:
    unsent = type("Unsent", (submitit.SlurmExecutor,), {"affinity": classmethod(lambda cls: 1)})  # does not need Slurm
    print(_script(_executor(unsent, folder), len(wanted)))
    for i, job in enumerate(wanted):
      print(f"# {i}: {shlex.join(job.command(sys.executable))}")
    return experiment_cli.DONE
  try:
    executor = _executor(submitit.SlurmExecutor, folder)
    # The process that submitit starts is replaced by the run, which receives Slurm's signals and sets the exit code.
    sent = executor.map_array(
      os.execvp, [sys.executable] * len(wanted), [job.command(sys.executable) for job in wanted]
    )
  except (RuntimeError, submitit.core.utils.FailedJobError) as error:
    raise ConfigError(f"Slurm does not accept the jobs: {error}") from error
  array = sent[0].job_id.partition("_")[0]
  print(f"{len(sent)} runs submitted as job {array}; to see them: squeue --jobs {array}; to stop: scancel {array}")
  return experiment_cli.DONE


def _executor(kind: Any, folder: Path) -> Any:
  """Returns a submitit executor of a class with the options of the command line."""
  executor = kind(folder=folder)
  others = {key: value for key, _, value in (option.partition("=") for option in _SBATCH.value)}
  if bad := [option for option in _SBATCH.value if "=" not in option]:
    raise ConfigError(f"--sbatch {bad[0]}: must be KEY=VALUE")
  compiled = f"{Path(jobs.WORKDIR.value).absolute()}/.compiled/$(hostname)-$SLURM_JOB_ID"
  executor.update_parameters(
    job_name=f"resjax-{jobs.selected_jobs()[0].run.folder}",
    time=_TIME.value,
    array_parallelism=_PARALLEL.value,
    nodes=_NODES.value,
    ntasks_per_node=_TASKS.value,
    cpus_per_task=_CPUS.value,
    gpus_per_task=_GPUS.value or None,
    mem=f"{round(_MEMORY.value * 1024)}MB" if _MEMORY.value else None,
    partition=_PARTITION.value or None,
    account=_ACCOUNT.value or None,
    wckey=None,
    setup=[f'export JAX_COMPILATION_CACHE_DIR="{compiled}"', "export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.3"],
    teardown=REQUEUE.splitlines(),
    additional_parameters={"requeue": True, "signal": f"TERM@{_GRACE.value}", **others},
  )
  return executor


def _script(executor: Any, count: int) -> str:
  """Returns the batch script that `map_array` submits for `count` jobs."""
  if count > 1:
    executor.parameters["map_count"] = count
  return executor._make_submission_file_text(executor._submitit_command_str, "")


if __name__ == "__main__":
  jobs.start(main)
