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
# Does a power of the depth describe what depth does to error, loss and responses? And which depth is worth its cost,
# when the cost is the multiply-adds spent in training?

# %%
from resjax.analysis import load, scaling
from resjax.analysis.sections import scaling as section

logs = load("logs/quickstart")
points = scaling.finished_runs(logs)
points[["label", "seed", "params", "training_macs", "test_error", "train_loss", "response"]]

# %% [markdown]
# Training takes three times the multiply-adds of its forward passes: a pass backward counts as two. With the same
# number of steps for every depth, parameters and multiply-adds both grow nearly as the depth does, so the three
# exponents of a measure differ little.
#
# A power is fitted by least squares of the logarithms, with Student's interval of the exponent. It is called a law only
# if the interval is clear of zero and the line explains nine tenths of the variance: a trend alone is no law.

# %%
laws = scaling.power_laws(points)  # empty with fewer than three depths
laws[["kind", "measure", "against", "runs", "exponent", "low", "high", "r_squared", "law"]]

# %% [markdown]
# The frontier: for each budget the depth that errs least, by the last test within the budget. A depth takes over when
# it is better by more than two standard errors. Caution: until its end a curve is that of a longer schedule, whose
# rate has not dropped; with a schedule of the budget's length the net would be better there.

# %%
scaling.frontier(logs)[["label", "from_macs", "to_macs", "error", "than_label", "difference", "sampling_error"]]

# %%
section.build(logs)
