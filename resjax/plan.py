"""Estimates memory, time and cost of the runs of an experiment on accelerators that are not present.

    python -m resjax.plan --config FILE[:VARIANT] --topology v5e:2x4 [--only EXPR] [--price 1.2] [--format=text|json]
    python -m resjax.plan --config imagenet_depth --topology v5p:8x8x8 --batch_per_chip 4
    python -m resjax.plan --config cifar_depth_sweep --topology gpu:h100x8

The training step of each run is compiled for the TPU slice by libtpu's compiler, which is part of the extra tpu and
needs no TPU. Equal steps are compiled once, with the compiler's least effort, which takes a third of the time and gives
a program that needs slightly more memory. --effort=full compiles as in a run; steps that do not fit into memory
otherwise are also compiled this way. If a step does not fit even then, more remat, fewer runs in one program, more
chips and smaller batches are tried in this order until one fits. The column `setting` names the change, and the row
applies to the changed step.

`ms a step` is a lower bound from the chip's peak rate and the bandwidths of its memory and its links. Real steps take
longer, those with small batches of small images many times as long. With --measured it is the time of a recorded run on
that hardware. Nothing is compiled for GPUs, whose memory is estimated from the layer table. The estimate must be at
most 70 % of what JAX allocates by default, which is 75 % of the GPU's memory. Images that every device holds count,
and so do runs that are trained in one program. The time of evaluation and start-up is not included.
"""

import collections
import json
import sys
from typing import Any

from absl import flags

from resjax import experiment_cli, listing
from resjax.config import Config
from resjax.planning import chips, measured, roofline, search
from resjax.planning.chips import GIB, Slice
from resjax.planning.search import Trial

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x4", "Slice: v5e:2x4, v6e:4x4, v5p:4x4x4 ... or gpu:h100x8.")
_BATCH_PER_CHIP = flags.DEFINE_integer("batch_per_chip", 0, "Images per step and chip; 0: train.batch_size in all.", 0)
_PRICE = flags.DEFINE_float("price", 0.0, "Price per chip and hour, in any currency.", 0.0)
_MEASURED = flags.DEFINE_string("measured", "", "Directory with run directories whose recorded speed is used.")
_EFFORT = flags.DEFINE_enum("effort", "quick", ["quick", "full"], "Effort of the compiler.")
_FORMAT = flags.DEFINE_enum("format", "text", ["text", "json"], "Output format.")


def main() -> int:
  """Prints the plan of the runs that the command line selects; returns the exit code, 1 if a run does not fit."""
  slice_, runs = chips.parse(_TOPOLOGY.value), experiment_cli.selected_runs()[1]
  configs = with_runs_per_program([_on(each.config, slice_) for each in runs])
  for config in configs:
    search.check(config, slice_)
  speeds = measured.read(_MEASURED.value) if _MEASURED.value else {}
  done: dict[Config, Trial] = {}
  programs = len({config.shared for config in configs})
  rows = []
  for each, config in zip(runs, configs, strict=True):
    program = config.shared  # equal for all seeds and hyperparameters
    if program not in done:
      print(f"{each.id}: step {len(done) + 1} of {programs}", file=sys.stderr, flush=True)
      done[program] = search.best(program, slice_, _EFFORT.value)
    rows.append({"id": each.id, **row(config, done[program], speeds)})
  if _FORMAT.value == "json":
    experiment_cli.print_output(json.dumps({"runs": rows, "sum": total(rows, done)}, indent=1))
  else:
    table = [{key: value if key == "params" else _text(value) for key, value in each.items()} for each in rows]
    sums = "  ".join(f"{key}: {_text(value)}" for key, value in total(rows, done).items())
    experiment_cli.print_output(f"{listing.table(table)}\n\n{sums}")
  return experiment_cli.DONE if all(each["fits"] for each in rows) else experiment_cli.FAILED


def row(config: Config, trial: Trial, speeds: dict[measured.SpeedKey, float]) -> dict[str, Any]:
  """Returns the columns of a run.

  Args:
    config: Settings of the run.
    trial: Result of the search for a way to execute its training step.
    speeds: Measured speeds in images per second.
  """
  devices, net = search.device_count(trial.config, trial.slice_), listing.net(config)
  batch, steps = trial.config.train.batch_size, config.train.steps
  bound = roofline.step(trial.config, net, trial.slice_, devices)
  speed = measured.find(speeds, net, batch, config.model.precision, trial.slice_.chip.kind, devices)
  seconds = batch / speed if speed else bound.seconds
  hours = seconds * steps / 3600
  return {
    "chips": devices,
    "batch": batch,
    "params": net.params,
    "macs a step": net.training_macs(batch),
    "compile s": trial.seconds,
    "GiB": trial.memory / GIB,
    "of GiB": trial.slice_.memory_limit / GIB,
    "fits": trial.fits,
    "setting": trial.setting,
    "collectives": " ".join(f"{count} {kind}" for kind, count in sorted(trial.collectives.items())),
    "ms a step": seconds * 1e3,
    "by": "measured" if speed else "exchange" if bound.exchange > seconds / 2 else _bound(bound),
    "hours": hours,
    "chip hours": hours * devices,
    "cost": hours * devices * _PRICE.value if _PRICE.value else None,
  }


def total(rows: list[dict[str, Any]], done: dict[Config, Trial]) -> dict[str, Any]:
  """Returns the totals of all runs, executed one after another."""
  return {
    "runs": len(rows),
    "steps compiled": sum(trial.seconds is not None for trial in done.values()),
    "compile s": sum(trial.seconds or 0.0 for trial in done.values()),
    "do not fit": sum(not each["fits"] for each in rows),
    "hours": sum(each["hours"] for each in rows),
    "chip hours": sum(each["chip hours"] for each in rows),
    "cost": sum(each["cost"] for each in rows) if _PRICE.value else None,
  }


def with_runs_per_program(configs: list[Config]) -> list[Config]:
  """Returns the settings of runs with `execution.runs_per_program` at most the number of runs that can share a program.

  Args:
    configs: Settings of the runs that are trained by one command.
  """
  runs = collections.Counter(each.shared for each in configs)
  return [
    search.replace(each, "execution", runs_per_program=min(each.execution.runs_per_program, runs[each.shared]))
    for each in configs
  ]


def _on(config: Config, slice_: Slice) -> Config:
  size = _BATCH_PER_CHIP.value * search.device_count(config, slice_)
  return search.replace(config, "train", batch_size=size) if size else config


def _bound(step: roofline.Step) -> str:
  return "compute" if step.compute > step.memory else "memory"


def _text(value: Any) -> str:
  if value is None or value == "":
    return "-"
  if isinstance(value, bool):
    return "yes" if value else "no"
  if isinstance(value, float):
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
  return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
  experiment_cli.run(main)
