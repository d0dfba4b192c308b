"""Chooses precision, number of parallel runs and GPU sharing of an accelerator session from its own measurements.

    python -m benchmarks.session_choice FOLDER FILE [--budget_minutes 8]

FOLDER holds the JSON files of `benchmarks.execution_forms`. FILE receives shell variables, one NAME=VALUE per line.
"""

import json
import shlex
import statistics
from pathlib import Path
from typing import Any

from absl import app, flags as absl_flags

from benchmarks import measure

_BUDGET = absl_flags.DEFINE_float("budget_minutes", 7.5, "Minutes available for training.")
_TOY = absl_flags.DEFINE_bool("toy", False, "Whether the measurements are those of a rehearsal, which has other cases.")
STEPS = 64_000
FIRST = ("20", "20", "56", "56")  # depths of the runs to train, a residual and a plain network each
WORTH_SHARING = 1.15  # smallest gain in throughput for which two processes share the GPU
GRAPHS = {  # commands in CUDA graphs, by the file that measured them; the other files measured `mesh.GPU_FLAGS`
  "graphs_convolution": "+CONVOLUTION",
  "graphs_default": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONDITIONAL",
}
WORTH_A_FLAG = 0.85  # largest ratio to the duration with `mesh.GPU_FLAGS` that is not attributed to noise


def milliseconds(folder: Path) -> dict[str, float]:
  """Returns the median milliseconds per step by file and case, such as "one:20/bfloat16", without failed cases."""
  found: dict[str, float] = {}
  for path in sorted(folder.glob("*.json")):
    for row in json.loads(path.read_text()).get("cases", []):
      if "failed" not in row:
        found[f"{path.stem}:{row['case']}"] = float(row["ms a step"].split()[0])
  return found


def sharing(found: dict[str, float], mode: str, case: str) -> float:
  """Returns the throughput of two simultaneous processes over that of one; 0 if it was not measured.

  Args:
    found: Milliseconds per step by file and case.
    mode: "with" for the multi-process service (MPS), "without" for time slices.
    case: Case that was measured.
  """
  alone, both = found.get(f"quiet:{case}"), [found.get(f"pair_{mode}_mps_{i}:{case}") for i in (1, 2)]
  return alone * sum(1 / each for each in both if each) if alone and all(both) else 0.0


def choose(found: dict[str, float], budget_minutes: float, pair: str) -> dict[str, Any]:
  """Returns the shell variables of `train` in `accelerator_session.sh`.

  Args:
    found: Milliseconds per step by file and case.
    budget_minutes: Minutes available for training.
    pair: Case that was measured with two simultaneous processes.
  """
  mps, slices = sharing(found, "with", pair), sharing(found, "without", pair)
  gain = mps if mps >= WORTH_SHARING else 1.0
  minutes = {}
  for precision in ("float32", "bfloat16"):
    each = [found.get(f"quiet:{depth}/{precision}") or found.get(f"one:{depth}/{precision}") for depth in FIRST]
    if all(each):
      minutes[precision] = sum(each) * STEPS / 60_000 / gain  # type: ignore[arg-type]
  print(f"two processes over one: {slices:.2f} in slices, {mps:.2f} with MPS")
  for precision, needed in minutes.items():
    print(f"residual and plain 20 and 56, {precision}: {needed:.1f} minutes")
  precision = "float32" if minutes.get("float32", 0.0) <= budget_minutes else "bfloat16"
  ours = found.get(f"quiet:{pair}") or found.get(f"one:{pair}", float("inf"))
  others = {found.get(f"{name}:{pair}", float("inf")): commands for name, commands in GRAPHS.items()}
  faster = min(others) < WORTH_A_FLAG * ours
  flags = f"--xla_gpu_enable_command_buffer={others[min(others)]}" if faster else ""
  shares = mps >= WORTH_SHARING
  return {"PRECISION": precision, "JOBS": 4 if shares else 2, "MPS": int(shares), "FLAGS": flags}


def main(arguments: list[str]) -> None:
  folder, file = map(Path, arguments[1:])
  found = milliseconds(folder)
  if found:
    rows = [{"measured": name, "ms a step": f"{value:.3f}"} for name, value in found.items()]
    print(measure.table(rows), f"median {statistics.median(found.values()):.3f}", sep="\n")
  chosen = choose(found, _BUDGET.value, "8/float32/batch=16" if _TOY.value else "20/bfloat16")
  file.write_text("".join(f"{name}={shlex.quote(str(value))}\n" for name, value in chosen.items()))


if __name__ == "__main__":
  app.run(main)
