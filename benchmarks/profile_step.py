"""Profile of a training step on a CPU: time by kind of operation.

    python -m benchmarks.profile_step [--depths 20,56,110] [--batch_size 64] [--devices 1] [--unroll 1]
      [--remat none]

The step is that of a run on random images. Each device is one core, so that the times of its operations sum to that of
the step. With several devices, the table has their mean, and the times of all-reduces include waiting for the other
devices. The times are from JAX's profiler, the kinds from the text of the compiled program. `--operations N` also lists
the N longest operations.
"""

import collections
import dataclasses
import os
import re
import tempfile
from pathlib import Path

import jax
from absl import app, flags
from jax.profiler import ProfileData

from benchmarks import implementations, measure
from resjax import models

_DEPTHS = flags.DEFINE_list("depths", ["20", "56", "110"], "Depths of residual networks.")
_DEVICES = flags.DEFINE_integer("devices", 1, "CPU devices, each with an equal part of the batch.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 64, "Images per step.")
_UNROLL = flags.DEFINE_integer("unroll", 1, "Blocks in the body of the loop over blocks.")
_REMAT = flags.DEFINE_enum("remat", "none", ["none", "elementwise", "block", "group"], "See execution.remat.")
_STEPS = flags.DEFINE_integer("steps", 3, "Profiled steps.")
_OPERATIONS = flags.DEFINE_integer("operations", 0, "How many of the longest operations to list.")

# Kinds by pattern: an operation has the kind of the first pattern that matches its text or that of its computation.
KINDS = {
  "all-reduces": r"all-reduce\(",
  "convolutions": r"onednn|convolution|__cpu\$",
  "matrix products": r" dot\(",
  "writing what the backward pass needs": r"dynamic-update-slice\(",
  "sums of norms": r" reduce\(",
  "transposed copies": r" transpose\(",
  "reading what was kept": r"dynamic-slice\(",
  "copies": r" copy\(| concatenate\(| pad\(",
  "loops themselves": r" while\(",
  "element-wise": r"",
}


@dataclasses.dataclass(frozen=True)
class Event:
  """Execution of an operation.

  Attributes:
    name: Name of the instruction in the compiled program.
    start: Start in nanoseconds.
    end: End in nanoseconds.
  """

  name: str
  start: float
  end: float


def self_times(events: list[Event]) -> collections.Counter[str]:
  """Returns the nanoseconds of each instruction without those of nested instructions."""
  times: collections.Counter[str] = collections.Counter()
  open_: list[Event] = []
  for event in sorted(events, key=lambda event: (event.start, -event.end)):
    while open_ and open_[-1].end <= event.start:
      open_.pop()
    if open_:
      times[open_[-1].name] -= event.end - event.start
    times[event.name] += event.end - event.start
    open_.append(event)
  return times


def kinds(program: str) -> dict[str, str]:
  """Returns the kind of each instruction in the text of a compiled program."""
  computations = dict(re.findall(r"^%?([\w.\-]+) [^\n]*\{\n(.*?)^\}", program, re.MULTILINE | re.DOTALL))
  found = {}
  for name, text in re.findall(r"^\s+(?:ROOT )?%?([\w.\-]+) = ([^\n]*)", program, re.MULTILINE):
    text = re.sub(r", metadata=.*", "", text)
    if called := re.search(r"(?:calls|to_apply)=%?([\w.\-]+)", text):
      text += computations.get(called[1], "")
    found[name] = next(kind for kind, pattern in KINDS.items() if re.search(pattern, text))
  return found


def profile(run_steps: implementations.Resjax, steps: int) -> collections.Counter[str]:
  """Returns the milliseconds per step of each instruction."""
  run_steps(2)
  with tempfile.TemporaryDirectory() as folder:
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(folder, profiler_options=options):
      run_steps(steps)
    (file,) = Path(folder).rglob("*.xplane.pb")
    data = ProfileData.from_file(str(file))
  names = kinds(run_steps.compiled.as_text())
  times: collections.Counter[str] = collections.Counter()
  for line in (line for plane in data.planes for line in plane.lines):
    # An event of a custom call has the target's name behind the instruction's.
    found = ((re.sub(r"__onednn\S*", "", event.name), event) for event in line.events)
    events = [Event(name, e.start_ns, e.start_ns + e.duration_ns) for name, e in found if name in names]
    times.update(self_times(events))
  return collections.Counter({name: time / 1e6 / steps for name, time in times.items()})


def main(_) -> None:
  cores, devices = sorted(os.sched_getaffinity(0)), _DEVICES.value
  if devices > len(cores) or _BATCH.value % devices:
    raise app.UsageError(
      f"--devices={devices}: must be at most the number of cores, {len(cores)}, and divide --batch_size={_BATCH.value}"
    )
  os.sched_setaffinity(0, set(cores[-devices:]))
  jax.config.update("jax_num_cpu_devices", devices)
  loop = models.ScanOptions(_UNROLL.value, _REMAT.value)
  rows: dict[str, dict[str, str]] = {kind: {"kind of operation": kind} for kind in [*KINDS, "all"]}
  for depth in _DEPTHS.value:
    run_steps = implementations.Resjax(int(depth), _BATCH.value, loop)
    times, names = profile(run_steps, _STEPS.value), kinds(run_steps.compiled.as_text())
    by_kind: collections.Counter[str] = collections.Counter()
    for name, time in times.items():
      by_kind[names[name]] += time / devices
    by_kind["all"] = sum(times.values()) / devices
    for kind, row in rows.items():
      row[f"ms at depth {depth}"] = f"{by_kind[kind]:.1f}"
    for name, time in times.most_common(_OPERATIONS.value):
      print(f"depth {depth}  {time / devices:8.2f} ms  {names[name]:40} {name}")
  measure.report([dict(row) for row in rows.values()], batch_size=_BATCH.value, devices=devices)


if __name__ == "__main__":
  app.run(main)
