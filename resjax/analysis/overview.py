"""The figure of the README: Fig. 6 and Fig. 7 of the study that was trained longest."""

from collections.abc import Sequence

from resjax.analysis import figures, style
from resjax.analysis.curves import response_curves
from resjax.analysis.longest_trained import TrainedNetwork
from resjax.analysis.plotting import Panel

NAME = "overview"
_KINDS = ("plain", "residual")
_ROW_HEIGHT = 2.7  # inches: lower than in a report, so that the commands of the README start on the first screen


def best_study(chosen: Sequence[TrainedNetwork]) -> list[TrainedNetwork]:
  """Returns the networks of the study that was trained longest or, of equally long ones, has most networks.

  Args:
    chosen: Result of `longest_trained.longest_trained`, not empty.
  """
  studies = {each.study: [other for other in chosen if other.study == each.study] for each in chosen}
  return max(studies.values(), key=lambda networks: (round(max(each.share for each in networks), 6), len(networks)))


def figure(chosen: Sequence[TrainedNetwork]) -> Panel | None:
  """Draws Fig. 6 and Fig. 7 for the networks of `best_study`.

  Args:
    chosen: Result of `longest_trained.longest_trained`, not empty.

  Returns:
    The figure; None if the networks have neither learning curves nor responses.
  """
  networks = best_study(chosen)
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
