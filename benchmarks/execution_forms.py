"""Milliseconds of a training step by how it is executed: loop over blocks, precision, seeds as one program, compiler.

    python -m benchmarks.execution_forms [--cases 20/bfloat16,110/float32/unroll=1] [--rounds 3] [--out forms.json]

A case is `depth/precision`, then what differs from one seed, batch 128 and the platform's default loop, such as
`unroll=3`, `batch=1024`, `seeds=5`, `form=vmap` or `options=NAME:VALUE` of the compiler. All cases are compiled at
the same time, on all cores, then timed one by one, each printed when it is there. `--lock` names a file that whoever
times something holds meanwhile, so that several of these programs can share a device. CPU milliseconds are those of all
cores: on a machine that does other work beside, compare these, on one core (`taskset -c 0`).
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
from benchmarks.measure import Side
from resjax import mesh, models
from resjax.train import batched_runs

_CASES = flags.DEFINE_list("cases", ["20/float32", "20/float32/unroll=1", "20/float32/unroll=3"], "What is timed.")
_LOCK = flags.DEFINE_string("lock", "", "File that is locked while something is timed.")
_AFTER = flags.DEFINE_string("start_after", "", "File whose appearance starts the timing, of several programs at once.")
_THREADS = flags.DEFINE_integer("threads", 8, "Cases compiled at the same time.")


@dataclasses.dataclass(frozen=True)
class Case:
  """One way to execute a training step.

  Attributes:
    depth, batch, precision: The net, images a step of a run, type of activations.
    unroll, remat: See `execution.unroll` and `execution.remat`.
    seeds, form: Runs in the program, and which of `batched_runs.FORMS` carries them; "": the platform's.
    options: Of the compiler, "NAME:VALUE", separated by "+".
    side: "resjax", or "torch.compile" with the mode in `form`.
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
    """Returns the case that `text` describes."""
    depth, precision, *rest = text.split("/")
    kinds = {field.name: type(field.default) for field in dataclasses.fields(cls)[2:]}
    pairs = (part.split("=", 1) for part in rest)
    return cls(int(depth), precision, **{name: kinds[name](value.replace("_", " ")) for name, value in pairs})

  def make(self) -> Side:
    """Compiles the case, runs two steps, and returns what runs more."""
    if self.side == "torch.compile":
      side = implementations.torch(self.depth, self.batch, True, self.precision, self.form)
    else:
      options = dict(option.replace(" ", "_").split(":") for option in self.options.split("+") if option)
      parsed: dict[str, bool | str] = {name: value == "True" or value for name, value in options.items()}
      loop = models.ScanOptions(self.unroll, self.remat)
      side = implementations.Resjax(self.depth, self.batch, loop, self.precision, self.seeds, parsed or None)
    side(2)
    return side


def made(case: Case, pool: ThreadPoolExecutor) -> Future[Side]:
  """Returns a case that is being made: in the pool, or at once, for PyTorch's CUDA graphs belong to the main thread."""
  if case.side == "resjax":
    return pool.submit(case.make)
  making: Future[Side] = Future()
  try:
    making.set_result(case.make())
  except Exception as error:
    making.set_exception(error)
  return making


@contextlib.contextmanager
def alone() -> Iterator[None]:
  """Holds the lock of `--lock`, if there is one."""
  if not _LOCK.value:
    yield
    return
  with Path(_LOCK.value).open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def timed(side: Side) -> tuple[list[float], list[float]]:
  """Returns milliseconds a step by the clock, and of all cores of this process, a figure a round."""
  steps, found, of_cores = 2, [], []
  for round_ in range(measure.ROUNDS.value + 1):
    start, cores = time.perf_counter(), time.process_time()
    side(steps)
    seconds = time.perf_counter() - start
    if round_:
      found.append(1000 * seconds / steps)
      of_cores.append(1000 * (time.process_time() - cores) / steps)
    steps = max(2, round(steps * measure.SECONDS.value / seconds))
  return found, of_cores


def row(text: str, making: Future[Side]) -> dict[str, Any]:
  """Returns the line of a case; one that could not be compiled or run says why."""
  case = Case.parse(text)
  try:
    side = making.result()
    with alone():
      found, of_cores = timed(side)
  except Exception as error:  # one case must not cost the others their time on a device
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
    makings: dict[str, Future[Side]] = {}
    # `batched_runs` chooses the form while a program is traced: those of one form are made before the next are begun.
    by_form: dict[str, list[str]] = {}
    for text in _CASES.value:
      case = Case.parse(text)
      by_form.setdefault(case.form if case.side == "resjax" else "", []).append(text)
    for form, texts in by_form.items():
      if form:
        batched_runs.FORM_OF_PLATFORM = dict.fromkeys(("cpu", "gpu", "tpu"), form)
      makings |= {text: made(Case.parse(text), pool) for text in texts}
      if len(by_form) > 1:
        _ = [making.exception() for making in makings.values()]
    if _AFTER.value:
      _ = [making.exception() for making in makings.values()]
      while not Path(_AFTER.value).exists():
        time.sleep(0.05)
    for text, making in makings.items():
      rows.append(row(text, making))
      print(*(f"{name} {value}" for name, value in rows[-1].items()), sep="  ", flush=True)
  measure.report([entry for entry in rows if "failed" not in entry] or rows, cases=rows)


if __name__ == "__main__":
  app.run(main)
