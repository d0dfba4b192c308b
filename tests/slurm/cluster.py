"""A Slurm cluster of two nodes on this machine, independent of any Slurm of the system.

    python -m tests.slurm.cluster FOLDER COMMAND ...     starts a cluster and runs a command

Needs munged, slurmctld and slurmd (tests/slurm/install.sh), and root, which Slurm needs to start jobs.
"""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NODES = ("n1", "n2")
SECONDS_TO_START = 60
# Requeued jobs wait until their old credentials have expired (cred_expire), two minutes by default.
CONFIGURATION = """\
ClusterName=resjax
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=60
ReturnToService=2
"""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
  """Starts a cluster, yields the environment variables with which Slurm's commands find it, and stops it.

  Args:
    folder: Folder for configuration, state and logs.
  """
  folder = folder.absolute()
  munge = folder / "munge"
  for path in (munge, folder / "state", *(folder / node for node in NODES)):
    path.mkdir(parents=True)
  munge.chmod(0o755)
  key = munge / "key"
  key.write_bytes(secrets.token_bytes(128))
  key.chmod(0o600)
  ports = _free_ports(1 + len(NODES))
  cores = os.cpu_count() or 1
  lines = CONFIGURATION.format(host=socket.gethostname(), port=ports[0], folder=folder)
  for node, port in zip(NODES, ports[1:], strict=True):
    lines += f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs={cores}\n"
  lines += f"PartitionName=main Nodes={','.join(NODES)} Default=YES MaxTime=INFINITE State=UP\n"
  configuration = folder / "slurm.conf"
  configuration.write_text(lines)
  environment = os.environ | {"SLURM_CONF": str(configuration)}
  files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
  commands = [
    ["munged", "--foreground", "--force", *(f"--{option}={munge / name}" for option, name in files.items())],
    ["slurmctld", "-D", "-c"],
    *(["slurmd", "-D", "-N", node] for node in NODES),
  ]
  with contextlib.ExitStack() as stack:
    output = stack.enter_context((folder / "output").open("ab"))
    for command in commands:
      process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
      stack.callback(_stop, process)
      if command[0] == "munged":
        _wait_for(lambda: (munge / "socket").exists(), "munged", folder)
    _wait_for(lambda: _all_idle(environment), "slurmctld", folder)
    stack.callback(_cancel_all, environment)
    yield environment


def _all_idle(environment: dict[str, str]) -> bool:
  """Returns whether all nodes are idle."""
  done = subprocess.run(
    ["sinfo", "--noheader", "--Node", "--format=%T"], env=environment, capture_output=True, text=True, check=False
  )
  return done.stdout.split() == ["idle"] * len(NODES)


def _cancel_all(environment: dict[str, str]) -> None:
  """Cancels all jobs and waits until they have ended, before the daemons are stopped."""
  deadline = time.monotonic() + SECONDS_TO_START
  while time.monotonic() < deadline:
    subprocess.run(["scancel", "--partition=main"], env=environment, check=False)
    subprocess.run(["scancel", "--full", "--signal=KILL", "--partition=main"], env=environment, check=False)
    jobs = subprocess.run(["squeue", "--noheader"], env=environment, capture_output=True, text=True, check=False)
    if jobs.returncode == 0 and not jobs.stdout.strip():
      return
    time.sleep(1)


def _wait_for(condition, name: str, folder: Path) -> None:
  """Waits for a condition; raises TimeoutError with the output of the daemons if it stays false."""
  deadline = time.monotonic() + SECONDS_TO_START
  while not condition():
    if time.monotonic() > deadline:
      raise TimeoutError(f"{name} does not start:\n{(folder / 'output').read_text()[-3000:]}")
    time.sleep(0.2)


def _stop(process: subprocess.Popen) -> None:
  process.terminate()
  try:
    process.wait(timeout=20)
  except subprocess.TimeoutExpired:
    process.kill()
    process.wait()


def _free_ports(count: int) -> list[int]:
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for each in sockets:
      each.bind(("127.0.0.1", 0))
    return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
  with running(Path(sys.argv[1])) as variables:
    sys.exit(subprocess.run(sys.argv[2:], env=variables, check=False).returncode)
