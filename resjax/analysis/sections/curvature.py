"""Curvature: density of the eigenvalues of the Hessian, and trace of the Hessian by stage."""

from typing import Any

import numpy as np
import pandas as pd

from resjax.analysis import curvature, formats, plotting, style
from resjax.analysis.curvature import LARGE, WIDTH
from resjax.analysis.logs import Logs
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Column, Section, Table, plotted_networks, study_commands

_SPECTRUM = (
  *(Column("network", number=False), Column("seed"), Column("parameters"), Column("largest eigenvalue")),
  *(Column("smallest"), Column("large", f"above {LARGE:.0%} of the largest"), Column("trace", "of the density")),
)
_TRACE = (
  *(Column("network", number=False), Column("seed"), Column("part", number=False), Column("parameters")),
  *(Column("trace", "± standard error"), Column("share", "% of the whole"), Column("vectors")),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no Hessian was studied."""
  traces, summaries = curvature.traces(logs), curvature.summaries(logs)
  if traces.empty and summaries.empty:
    return None
  densities = _densities(logs, summaries)
  frames = (("hessian_trace", traces), ("hessian_spectrum", summaries), ("hessian_density", densities))
  tables = (
    Table("Eigenvalues of the Hessian, by Lanczos quadrature.", _SPECTRUM, _spectrum_rows(logs, summaries)),
    Table("Trace of the Hessian’s blocks on the diagonal.", _TRACE, _trace_rows(logs, traces), folded=True),
  )
  return Section(
    key="curvature",
    title="Curvature",
    findings=_findings(logs, traces, summaries),
    caption="Density of the eigenvalues of the Hessian of the training loss by stochastic Lanczos quadrature, smoothed "
    f"by a Gaussian of {WIDTH:.0%} of the largest eigenvalue (Ghorbani et al., 2019; Yao et al., 2020), and trace of "
    "the blocks of the Hessian that belong to one stage each, by Hutchinson’s estimator; bars are standard errors over "
    "random vectors. Near zero, the total weight is reliable, the individual positions are not.",
    panels=tuple(panel for panel in (_density_panel(logs, densities), _trace_panel(logs, traces)) if panel),
    tables=tuple(table for table in tables if table.rows),
    data={name: frame for name, frame in frames if not frame.empty},
    commands=study_commands(logs, "curvature"),
  )


def _densities(logs: Logs, summaries: pd.DataFrame) -> pd.DataFrame:
  """Returns the density of eigenvalues of each network's first run, with columns net, position, density."""
  spectra, first = curvature.spectra(logs), summaries.drop_duplicates("net")
  densities = [curvature.density(*spectra[row["id"]]).assign(net=row["net"]) for row in first.to_dict("records")]
  return pd.concat(densities) if densities else pd.DataFrame(columns=["net", "position", "density"])


def _density_panel(logs: Logs, densities: pd.DataFrame) -> Panel | None:
  if densities.empty:
    return None
  drawn, colors = plotted_networks(logs, densities), plotting.network_colors(logs.networks)
  with style.panel() as (figure, axes):
    for net in drawn:
      curve = densities[densities["net"] == net.key]
      line = {"color": colors[net.key], "linestyle": plotting.line_style(net), "linewidth": 1.6}
      axes.plot(curve["position"].tolist(), curve["density"].tolist(), label=net.label, **line)
    top = float(densities["density"].max())
    axes.set_ylim(top * 1e-6, top * 3)
    plotting.log_scale(axes, "y")
    axes.set_xlabel("eigenvalue, relative to the largest")
    axes.set_ylabel("density")
    axes.set_title("Density of the Hessian’s eigenvalues")
    axes.legend(loc="upper right", fontsize=9)
    names = ", ".join(net.label for net in drawn)
    description = f"Density of the eigenvalues of the Hessian relative to the largest one, for {names}."
    return Panel("hessian-density", style.to_svg(figure), description)


def _trace_panel(logs: Logs, traces: pd.DataFrame) -> Panel | None:
  """Draws the trace of each part of the networks, as the mean over seeds."""
  lines = traces[traces["part"] != "all"]
  if lines.empty:
    return None
  parts = _parts(lines)
  drawn, colors = plotted_networks(logs, lines), plotting.network_colors(logs.networks)
  with style.panel() as (figure, axes):
    ends = []
    for i, net in enumerate(drawn):
      means = lines[lines["net"] == net.key].groupby("part")[["trace", "error"]].mean()
      means = means.reindex(parts).dropna(how="all")
      x = [parts.index(part) + 0.06 * (i - (len(drawn) - 1) / 2) for part in means.index]
      look: dict[str, Any] = {"color": colors[net.key], "linestyle": plotting.line_style(net), "linewidth": 1.4}
      axes.errorbar(x, means["trace"].tolist(), yerr=means["error"].fillna(0).tolist(), marker="o", ms=4, **look)
      ends.append((float(means["trace"].iloc[-1]), net.label, colors[net.key]))
    if (lines["trace"] > 0).all():
      plotting.log_scale(axes, "y")
    axes.set_xticks(range(len(parts)), [_part_name(part) for part in parts])
    axes.set_ylabel("trace")
    axes.set_title("Trace of the Hessian by stage")
    style.label_line_ends(axes, ends)
    names = ", ".join(net.label for net in drawn)
    description = f"Trace of the Hessian’s block of each stage, for {names}."
    return Panel("hessian-trace", style.to_svg(figure), description)


def _parts(lines: pd.DataFrame) -> list[str]:
  """Returns the parts of all networks, from input to output."""
  return sorted(set(lines["part"]), key=lambda part: ({"stem": 0, "head": 2}.get(part, 1), part))


def _part_name(part: str) -> str:
  """Returns a readable name of a part, such as "stage 1", "first layer" for the stem, "classifier" for the head."""
  return {"stem": "first layer", "head": "classifier"}.get(part, part.replace("stage", "stage "))


def _findings(logs: Logs, traces: pd.DataFrame, summaries: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for net in plotted_networks(logs, pd.concat([traces[["net"]], summaries[["net"]]])):
    clauses = []
    of_net = summaries[summaries["net"] == net.key]
    if len(of_net):
      clauses.append(
        f"the Hessian’s eigenvalues reach from {formats.figures(of_net['smallest'].mean())} to "
        f"{formats.figures(of_net['largest'].mean())}, and about {formats.count(round(of_net['large'].mean()))} of "
        f"{formats.count(of_net['parameters'].iloc[0])} are above {LARGE:.0%} of the largest"
      )
    by_part = traces[traces["net"] == net.key].groupby("part")["trace"].mean()
    if len(by_part):
      stages = by_part.drop("all")
      largest = str(stages.idxmax())
      clauses.append(
        f"its trace is {formats.figures(by_part['all'])}, of which {stages.max() / by_part['all']:.0%} are in "
        f"{'' if largest.startswith('stage') else 'the '}{_part_name(largest)}"
      )
    sentences.append(f"{net.label}: {'; '.join(clauses)}.")
  return tuple(sentences)


def _spectrum_rows(logs: Logs, summaries: pd.DataFrame) -> list[list[str]]:
  return [
    [
      *(logs.labels[row["net"]], formats.count(row["seed"]), formats.count(row["parameters"])),
      *(formats.figures(row["largest"], 4), formats.figures(row["smallest"], 4)),
      *(formats.count(round(row["large"])), formats.figures(row["trace"], 4)),
    ]
    for row in summaries.to_dict("records")
  ]


def _trace_rows(logs: Logs, traces: pd.DataFrame) -> list[list[str]]:
  order, rows = [*_parts(traces[traces["part"] != "all"]), "all"], []
  whole = traces[traces["part"] == "all"].set_index("id")["trace"]
  for run in dict.fromkeys(traces["id"]):
    by_part = traces[traces["id"] == run].set_index("part").reindex(order).dropna(subset=["trace"])
    for part, row in by_part.iterrows():
      error = "" if np.isnan(row["error"]) else f" ± {formats.figures(row['error'], 2)}"
      rows.append(
        [
          *(
            logs.labels[row["net"]],
            formats.count(row["seed"]),
            _part_name(str(part)),
            formats.count(row["parameters"]),
          ),
          *(formats.figures(row["trace"], 4) + error, formats.number(100 * row["trace"] / whole[run], 1)),
          formats.count(row["vectors"]),
        ]
      )
  return rows
