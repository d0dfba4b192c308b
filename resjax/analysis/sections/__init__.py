"""The report's sections: each reads the logs and says what is seen, with figures, tables and their data.

A builder takes the logs and returns a `Section`, or None where its records are not there.
"""

from resjax.analysis.logs import Logs
from resjax.analysis.sections import (
  blocks,
  cka,
  gradients,
  identity,
  landscape,
  layers,
  lesions,
  paired_tests,
  paper_numbers,
  paths,
  responses,
  scaling,
  through_training,
  training,
)
from resjax.analysis.sections.section import Section

__all__ = ["Section", "build_all"]

_BUILDERS = (
  *(paper_numbers.build, paired_tests.depth, paired_tests.settings, training.build, scaling.build),
  *(responses.build, responses.other_measurements, blocks.build, through_training.build),
  *(gradients.build, paths.build, lesions.build, layers.build, cka.build, landscape.build, identity.build),
)


def build_all(logs: Logs) -> list[Section]:
  """The sections of an experiment, in the order of the page."""
  return [section for build in _BUILDERS if (section := build(logs)) is not None]
