"""Duration of a training step by its execution: loop over blocks, precision, seeds per program, compiler options.

    python -m benchmarks.execution_forms [--cases 20/bfloat16,110/float32/unroll=1] [--rounds 3] [--out forms.json]

A case is `depth/precision`, followed by what differs from one seed, batch size 128 and the default loop of the
platform, such as `unroll=3`, `batch=1024`, `seeds=5`, `form=vmap` or `options=NAME:VALUE` of the compiler. All cases
are compiled in parallel, then timed and printed one by one. `--lock` names a file that is locked during each timing, so
that several of these programs can share a device. The CPU time is the sum over all cores; on a machine with other load,
compare the CPU times on one core (`taskset -c 0`).
"""

import contextlib
import dataclasses
import fcntl
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import implementations, measure
from benchmarks.measure import RunSteps
from resjax import mesh, models
from resjax.train import batched_runs

_CASES = flags.DEFINE_list("cases", ["20/float32", "20/float32/unroll=1", "20/float32/unroll=3"], "Cases to time.")
_LOCK = flags.DEFINE_string("lock", "", "File that is locked during each timing.")
_AFTER = flags.DEFINE_string("start_after", "", "File whose creation starts the timing, in several programs at once.")
_THREADS = flags.DEFINE_integer("threads", 8, "Number of cases that are compiled in parallel.")


@dataclasses.dataclass(frozen=True)
class Case:
  """A training step and how it is executed.

  Attributes:
    depth: Depth of the residual network.
    precision: Precision of the activations.
    unroll: Blocks per iteration of the loop, see `execution.unroll`.
    remat: Recomputation in the backward pass, see `execution.remat`.
    batch: Number of images per step of a run.
    seeds: Number of runs in the program.
    form: Entry of `batched_runs.MAPPINGS` that executes several runs; "" for the default of the platform.
    options: Compiler options "NAME:VALUE", separated by "+".
    side: "resjax", or "torch.compile" with its mode in `form`.
  """

  depth: int
  precision: str
  unroll: int = 0
  remat: str = "none"
  batch: int = 128
  seeds: int = 1
  form: str = ""
  options: str = ""
  side: str = "resjax"

  @classmethod
  def parse(cls, text: str) -> "Case":
    """Parses a case such as "20/bfloat16/unroll=3"."""
    depth, precision, *rest = text.split("/")
    kinds = {field.name: type(field.default) for field in dataclasses.fields(cls)[2:]}
    pairs = (part.split("=", 1) for part in rest)
    return cls(int(depth), precision, **{name: kinds[name](value.replace("_", " ")) for name, value in pairs})

  def make(self) -> RunSteps:
    """Compiles the case and executes two steps; returns the function that executes further steps."""
    if self.side == "torch.compile":
      run_steps = implementations.torch(self.depth, self.batch, True, self.precision, self.form)
    else:
      options = dict(option.replace(" ", "_").split(":") for option in self.options.split("+") if option)
      parsed: dict[str, bool | str] = {name: value == "True" or value for name, value in options.items()}
      loop = models.ScanOptions(self.unroll, self.remat)
      run_steps = implementations.Resjax(
        self.depth, self.batch, loop, self.precision, seeds=self.seeds, compiler_options=parsed or None
      )
    run_steps(2)
    return run_steps


def compile_case(case: Case, pool: ThreadPoolExecutor) -> Future[RunSteps]:
  """Compiles a case in the pool; those of PyTorch immediately, because its CUDA graphs belong to the main thread."""
  if case.side == "resjax":
    return pool.submit(case.make)
  future: Future[RunSteps] = Future()
  try:
    future.set_result(case.make())
  except Exception as error:
    future.set_exception(error)
  return future


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
  """Holds the lock of `--lock`, if the flag is set."""
  if not _LOCK.value:
    yield
    return
  with Path(_LOCK.value).open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def time_steps(run_steps: RunSteps) -> tuple[list[float], list[float]]:
  """Returns wall-clock milliseconds per step, and CPU milliseconds per step of all cores, one value per round each."""
  steps, found, of_cores = 2, [], []
  for round_ in range(measure.ROUNDS.value + 1):
    start, cores = time.perf_counter(), time.process_time()
    run_steps(steps)
    seconds = time.perf_counter() - start
    if round_:
      found.append(1000 * seconds / steps)
      of_cores.append(1000 * (time.process_time() - cores) / steps)
    steps = max(2, round(steps * measure.SECONDS.value / seconds))
  return found, of_cores


def row(text: str, future: Future[RunSteps]) -> dict[str, Any]:
  """Times a case and returns its row of the table; for a case that fails, the row has the error."""
  case = Case.parse(text)
  try:
    run_steps = future.result()
    with exclusive():
      found, of_cores = time_steps(run_steps)
  except Exception as error:  # the other cases are still timed
    return {"case": text, "failed": " ".join(str(error).split())[:300]}
  rate = 1000 * case.batch * case.seeds / statistics.median(found)
  return {
    "case": text,
    "ms a step": measure.spread(found, 3),
    "CPU ms": measure.spread(of_cores, 1),
    "images/s": round(rate),
  }


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  rows = []
  with ThreadPoolExecutor(_THREADS.value) as pool:
    futures: dict[str, Future[RunSteps]] = {}
    # `batched_runs` chooses the form during tracing, so all cases of one form are compiled before those of the next.
    by_form: dict[str, list[str]] = {}
    for text in _CASES.value:
      case = Case.parse(text)
      by_form.setdefault(case.form if case.side == "resjax" else "", []).append(text)
    for form, texts in by_form.items():
      if form:
        batched_runs.MAPPING_OF_PLATFORM = dict.fromkeys(("cpu", "gpu", "tpu"), form)
      futures |= {text: compile_case(Case.parse(text), pool) for text in texts}
      if len(by_form) > 1:
        _ = [future.exception() for future in futures.values()]
    if _AFTER.value:
      _ = [future.exception() for future in futures.values()]
      while not Path(_AFTER.value).exists():
        time.sleep(0.05)
    for text, future in futures.items():
      rows.append(row(text, future))
      print(*(f"{name} {value}" for name, value in rows[-1].items()), sep="  ", flush=True)
  measure.report([entry for entry in rows if "failed" not in entry] or rows, cases=rows)


if __name__ == "__main__":
  app.run(main)
