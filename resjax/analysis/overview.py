"""The figure of the README: Fig. 6 and Fig. 7 of the study that has most of the paper's networks."""

from collections.abc import Sequence

from resjax.analysis import figures, style
from resjax.analysis.curves import response_curves
from resjax.analysis.longest_trained import TrainedNetwork
from resjax.analysis.plotting import Panel

NAME = "overview"
_KINDS = ("plain", "residual")
_ROW_HEIGHT = 2.7  # inches: lower than in a report, so that the commands of the README start on the first screen


def largest_study(networks: Sequence[TrainedNetwork]) -> list[TrainedNetwork]:
  """Returns the networks of one study: the one with most of them, or of those the one that was trained longest.

  The effect of depth shows only among networks with the same training, so their number comes first.

  Args:
    networks: Result of `longest_trained.paper_networks`, not empty.
  """
  studies = {each.study: [other for other in networks if other.study == each.study] for each in networks}
  return max(studies.values(), key=lambda own: (len(own), max(each.share for each in own)))


def figure(networks: Sequence[TrainedNetwork]) -> Panel | None:
  """Draws Fig. 6 and Fig. 7 for the networks of one study.

  Args:
    networks: Result of `largest_study`.

  Returns:
    The figure; None if the networks have neither learning curves nor responses.
  """
  logs = networks[0].logs
  keys = {each.net.key for each in networks}
  errors = figures.training_errors(logs, keys)
  responses = {order: response_curves(logs, order) for order in ("original", "sorted")}
  responses = {order: curves[curves["net"].isin(keys)] for order, curves in responses.items()}
  kinds = [kind for kind in _KINDS if kind in errors.kinds]
  count = len(kinds) + sum(not curves.empty for curves in responses.values())
  if not count:
    return None
  with style.panels(-(-count // 2), 2 if count > 1 else 1, _ROW_HEIGHT) as (canvas, axes):
    free = iter(axes)
    descriptions = [
      figures.draw_errors(next(free), errors, kind, legend=not number) for number, kind in enumerate(kinds)
    ]
    for order, title in figures.RESPONSE_TITLES.items():
      if not responses[order].empty:
        legend = order == "original"
        descriptions.append(figures.draw_responses(next(free), title, responses[order], logs.networks, legend))
    for unused in free:
      unused.remove()
    return Panel(NAME, style.to_svg(canvas), " ".join(descriptions))
