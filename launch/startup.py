"""Startup script of the workers of a Cloud TPU slice, which installs the code and executes the runs."""

import shlex
from collections.abc import Sequence

# Exit code 75 of a run means that the machine is about to be preempted; the next start continues. After the last run,
# the first worker writes the exit code to a file in the work directory, which the launcher waits for. Which extras an
# experiment needs is not known here; `detection` includes those for image files.
SCRIPT = """\
#!/bin/bash
# Made by launch.tpu; runs as root on every worker, at every start of the machine.
export HOME=/root JAX_COMPILATION_CACHE_DIR=/opt/resjax/compiled
mkdir -p /opt/resjax && cd /opt/resjax || exit 1
if [ ! -e installed ]; then
  gcloud storage cp {source} - | tar xz || exit 1
  python3 -m pip install -q uv && python3 -m uv venv -q --python 3.12 --clear .venv || exit 1
  python3 -m uv pip install -q --python .venv/bin/python '.[tpu,detection,cloud]' && touch installed || exit 1
fi
worst=0
for index in {indices}; do
  {command} --index=$index
  code=$?
  if [ $code -eq 75 ]; then exit 75; fi
  if [ $code -gt $worst ]; then worst=$code; fi
done
about=http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number
if [ "$(curl -s -H 'Metadata-Flavor: Google' $about)" = 0 ]; then
  echo $worst | gcloud storage cp - {workdir}/.launch/{name}.ended
fi
"""


def script(command: Sequence[str], indices: Sequence[int], workdir: str, source: str, name: str) -> str:
  """Returns the script.

  Args:
    command: Command that starts a run, without `--index`.
    indices: Indices of the runs, which are executed one after another.
    workdir: gs:// path of the work directory.
    source: gs:// path of the code, made by `git archive --format=tar.gz`.
    name: Name of the file with the exit code, which no other launch uses: WORKDIR/.launch/NAME.ended.
  """
  return SCRIPT.format(
    source=shlex.quote(source),
    indices=" ".join(map(str, indices)),
    command=shlex.join(command),
    workdir=shlex.quote(workdir),
    name=name,
  )
