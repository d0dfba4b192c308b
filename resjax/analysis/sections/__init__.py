"""The report's sections: each reads the logs and says what is seen, with figures, tables and their data.

A builder takes the logs and returns a `Section`, or None where its records are not there.
"""

from resjax.analysis.frames import Logs
from resjax.analysis.sections import (
  blocks,
  comparisons,
  gradients,
  identity,
  landscape,
  lesions,
  paths,
  published,
  responses,
  scaling,
  through_training,
  training,
)
from resjax.analysis.sections.section import Section

_BUILDERS = (
  *(published.build, comparisons.depth, comparisons.settings, training.build, scaling.build),
  *(responses.build, responses.other_readings, blocks.build, through_training.build),
  *(gradients.build, paths.build, lesions.build, landscape.build, identity.build),
)


def every(logs: Logs) -> list[Section]:
  """The sections of an experiment, in the order of the page."""
  return [section for build in _BUILDERS if (section := build(logs)) is not None]
