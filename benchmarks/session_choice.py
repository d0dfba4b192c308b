"""Chooses how an accelerator session trains, from what it measured: precision, runs at the same time, sharing the GPU.

    python -m benchmarks.session_choice FOLDER FILE [--budget_minutes 8]

FOLDER has the JSON files of `benchmarks.execution_forms`; FILE is written as lines of a shell, NAME=VALUE.
"""

import json
import shlex
import statistics
from pathlib import Path
from typing import Any

from absl import app, flags as absl_flags

from benchmarks import measure

_BUDGET = absl_flags.DEFINE_float("budget_minutes", 7.5, "Minutes of training that there will be.")
_TOY = absl_flags.DEFINE_bool("toy", False, "Whether a rehearsal measured, with other cases.")
STEPS = 64_000
FIRST = ("20", "20", "56", "56")  # residual and plain of each depth
WORTH_SHARING = 1.15  # of the throughput of one process alone
GRAPHS = {  # what becomes part of CUDA graphs, by the file that measured it; without an entry: `mesh.GPU_FLAGS`
  "graphs_convolution": "+CONVOLUTION",
  "graphs_default": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONDITIONAL",
}
WORTH_A_FLAG = 0.85  # of the milliseconds with `mesh.GPU_FLAGS`; noise of a busy device is not


def milliseconds(folder: Path) -> dict[str, float]:
  """Returns the median milliseconds a step by file and case, "one:20/bfloat16"; what failed is left out."""
  found: dict[str, float] = {}
  for path in sorted(folder.glob("*.json")):
    for row in json.loads(path.read_text()).get("cases", []):
      if "failed" not in row:
        found[f"{path.stem}:{row['case']}"] = float(row["ms a step"].split()[0])
  return found


def sharing(found: dict[str, float], mode: str, case: str) -> float:
  """Returns the throughput of two processes at the same time over that of one, or 0 where it was not measured."""
  alone, both = found.get(f"quiet:{case}"), [found.get(f"pair_{mode}_mps_{i}:{case}") for i in (1, 2)]
  return alone * sum(1 / each for each in both if each) if alone and all(both) else 0.0


def choose(found: dict[str, float], budget_minutes: float, pair: str) -> dict[str, Any]:
  """Returns the settings of `train` in `accelerator_session.sh`."""
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
