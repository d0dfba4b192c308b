"""Choice of the lesions of a network, as columns of lesions.jsonl and as arrays. Does not use JAX.

A lesion specifies, for each stage, which block is executed at each position after the first, and at which positions
the main branch is removed.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from resjax.config.studies import Lesions
from resjax.study_records import DELETE, DELETE_RANDOM, NONE, REORDER, SWAP

BlockIndex = tuple[int, int]  # 1-based stage, and 1-based block of the stage


@dataclasses.dataclass(frozen=True)
class Lesion:
  """One lesion.

  Attributes:
    kind: One of `study_records.LESIONS`.
    deleted: Blocks whose main branch is removed.
    order: 1-based blocks of each stage in the order of their execution.
    count: Number of deleted blocks or of swaps.
    stage: 1-based stage, if the lesion concerns a single block.
    block: 1-based block of the stage, if the lesion concerns a single block.
    trial: 1-based number of the random draw, None if nothing is drawn.
    seed: Seed of the draws, None if nothing is drawn.
  """

  kind: str
  deleted: tuple[BlockIndex, ...]
  order: tuple[tuple[int, ...], ...]
  count: int
  stage: int | None = None
  block: int | None = None
  trial: int | None = None
  seed: int | None = None

  def columns(self) -> dict[str, Any]:
    """Returns the keys and values of lesions.jsonl that identify the lesion."""
    moved = [
      (stage, block)
      for stage, order in enumerate(self.order, 1)
      for place, block in enumerate(order, 1)
      if place != block
    ]
    return {
      "kind": self.kind,
      "stage": self.stage,
      "block": self.block,
      "blocks": [list(place) for place in (*self.deleted, *sorted(moved))],
      "count": self.count,
      "trial": self.trial,
      "tau": kendall_tau(self.order) if self.kind in (SWAP, REORDER) else None,
      "seed": self.seed,
    }


def draw(stages: Sequence[int], settings: Lesions) -> list[Lesion]:
  """Returns the lesions of a network, starting with the undisturbed network.

  Each random draw depends only on (seed, kind, count, trial) and the network, not on the other draws.

  Args:
    stages: Number of blocks of each stage.
    settings: Settings of the study; `counts`, `trials` and `seed` are used.
  """
  order = tuple(tuple(range(1, blocks + 1)) for blocks in stages)
  places = [(stage, block) for stage, blocks in enumerate(order, 1) for block in blocks]
  lesions = [Lesion(NONE, (), order, 0)]
  lesions += [Lesion(DELETE, (place,), order, 1, *place) for place in places]
  lesions += [
    Lesion(SWAP, (), _swapped(order, stage, block, block + 1), 1, stage, block)
    for stage, block in places
    if 1 < block < stages[stage - 1]
  ]
  for count, trial in itertools.product(settings.counts, range(1, settings.trials + 1)):
    if count < len(places):
      rng = np.random.default_rng([settings.seed, 1, count, trial])
      chosen = sorted(places[i] for i in rng.choice(len(places), count, replace=False))
      lesions.append(Lesion(DELETE_RANDOM, tuple(chosen), order, count, trial=trial, seed=settings.seed))
  pairs = [(s, *pair) for s, blocks in enumerate(stages, 1) for pair in itertools.combinations(range(2, blocks + 1), 2)]
  for count, trial in itertools.product(settings.counts, range(1, settings.trials + 1)):
    if count < len(pairs):
      rng, moved = np.random.default_rng([settings.seed, 2, count, trial]), order
      for i in rng.choice(len(pairs), count, replace=False):
        moved = _swapped(moved, *pairs[i])
      lesions.append(Lesion(REORDER, (), moved, count, trial=trial, seed=settings.seed))
  return lesions


def kendall_tau(order: Sequence[Sequence[int]]) -> float:
  """Returns Kendall's rank correlation of the new order with the original one, over pairs within each stage."""
  signs = [np.sign(b - a) for blocks in order for a, b in itertools.combinations(blocks, 2)]
  return float(np.mean(signs))


def arrays(lesions: Sequence[Lesion]) -> Mapping[str, dict[str, np.ndarray]]:
  """Returns lesions as arrays by stage and name.

  `order`, int32 [lesions, positions]: index of the block executed at each position after the first.
  `keep`, bool [lesions, positions]: whether its main branch is executed.
  `keep_first`, bool [lesions]: whether the main branch of the first block is executed.
  `shared`, bool [lesions]: whether the first block of the stage and all blocks before it are undisturbed.
  `start`, int32 [lesions]: first position that is disturbed or has a disturbed input.
  """
  rows = [list(_of_stages(lesion)) for lesion in lesions]
  return {
    f"stage{stage}": {key: np.stack([row[stage - 1][key] for row in rows]) for key in rows[0][0]}
    for stage in range(1, len(rows[0]) + 1)
  }


def _of_stages(lesion: Lesion) -> Iterator[dict[str, np.ndarray]]:
  """Yields the arrays of one lesion for each stage, see `arrays`."""
  before = False  # whether a previous stage is disturbed
  for stage, blocks in enumerate(lesion.order, 1):
    order = np.array(blocks[1:], np.int32) - 2
    keep = np.array([(stage, block) not in lesion.deleted for block in blocks[1:]], bool)
    keep_first = (stage, 1) not in lesion.deleted
    shared = keep_first and not before
    disturbed = np.flatnonzero((order != np.arange(len(order))) | ~keep)
    start = (disturbed[0] if len(disturbed) else len(order)) if shared else 0
    yield {
      "order": order,
      "keep": keep,
      "keep_first": np.array(keep_first),
      "shared": np.array(shared),
      "start": np.array(start, np.int32),
    }
    before = before or not keep_first or bool(len(disturbed))


def _swapped(order: tuple[tuple[int, ...], ...], stage: int, one: int, other: int) -> tuple[tuple[int, ...], ...]:
  """Returns the order with the blocks at two positions of a stage exchanged."""
  blocks = list(order[stage - 1])
  blocks[one - 1], blocks[other - 1] = blocks[other - 1], blocks[one - 1]
  return (*order[: stage - 1], tuple(blocks), *order[stage:])
