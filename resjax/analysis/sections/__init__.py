"""Sections of the report. Each takes the logs and returns findings, figures, tables and their data as a `Section`.

A builder returns None if the records for its section do not exist.
"""

from resjax.analysis import learning_rates
from resjax.analysis.logs import Logs
from resjax.analysis.sections import (
  blocks,
  cka,
  curvature,
  detection,
  follow_ups,
  gradients,
  identity,
  initialization,
  landscape,
  layers,
  learning_rate,
  lesions,
  paired_tests,
  paper_numbers,
  paths,
  plain_depth,
  responses,
  scaling,
  through_training,
  training,
  trajectory,
)
from resjax.analysis.sections.section import Section

__all__ = ["Section", "build_all"]

_BUILDERS = (
  *(
    detection.build,
    paper_numbers.build,
    follow_ups.build,
    paired_tests.depth,
    paired_tests.settings,
    plain_depth.build,
  ),
  *(training.build, scaling.build),
  *(responses.build, responses.other_measurements, blocks.build, through_training.build),
  *(
    initialization.build,
    gradients.build,
    paths.build,
    lesions.build,
    layers.build,
    cka.build,
    landscape.build,
    curvature.build,
    trajectory.build,
    identity.build,
  ),
)


def build_all(logs: Logs) -> list[Section]:
  """Builds the sections of an experiment, in the order of the page.

  For a sweep over learning rates, these are the section on learning rates, and the comparison of depths at the best
  learning rates.

  Args:
    logs: Logs of one experiment.
  """
  rates = learning_rate.build(logs)
  if rates is not None:
    depths = paired_tests.depth(learning_rates.at_best_rates(logs))
    return [rates] if depths is None else [rates, depths]
  return [section for build in _BUILDERS if (section := build(logs)) is not None]
