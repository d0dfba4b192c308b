# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Scaling with depth
#
# Do error, loss and responses follow a power law in the depth? And which depth is worth its cost, measured in the
# multiply-adds of training?

# %%
from resjax.analysis import load, scaling
from resjax.analysis.sections import scaling as section

logs = load("logs/quickstart")
points = scaling.finished_runs(logs)
points[["label", "seed", "params", "training_macs", "test_error", "train_loss", "response"]]

# %% [markdown]
# Training takes three times the multiply-adds of its forward passes, because a backward pass counts as two. All
# depths take the same number of steps, so parameters and multiply-adds are nearly proportional to the depth, and the
# three exponents of a measure differ little.
#
# A power law is fitted by least squares to the logarithms, with Student's interval of the exponent. The fit is called
# a law only if the interval excludes zero and the line explains nine tenths of the variance.

# %%
laws = scaling.power_laws(points)  # empty with fewer than three depths
laws[["kind", "measure", "against", "runs", "exponent", "low", "high", "r_squared", "law"]]

# %% [markdown]
# The frontier is the depth with the lowest error for each training budget, at the last test within the budget. A
# depth replaces another one when it is better by more than two standard errors. Before its last step, a run is still
# on a schedule longer than the budget, so its learning rate has not dropped yet. A schedule as long as the budget would
# give a lower error.

# %%
scaling.frontier(logs)[["label", "from_macs", "to_macs", "error", "than_label", "difference", "sampling_error"]]

# %%
section.build(logs)
