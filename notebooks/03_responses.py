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
# # Responses
#
# Fig. 7 of the paper: the standard deviation of each 3x3 layer's output, after batch normalization and before the
# nonlinearity or the addition. For residual nets it is the strength of the residual functions.

# %%
from resjax.analysis import load, measurements, response_curves, response_history
from resjax.analysis.figures import figure7
from resjax.analysis.response_scaling import fit_response_scaling
from resjax.analysis.sections import through_training

logs = load("logs/quickstart")
in_order, by_size = figure7(logs)
in_order

# %%
by_size

# %% [markdown]
# The paper does not say which images, whose statistics and which layers these are; so a capture is recorded with its
# reading, and curves can be asked for in one.

# %%
[measurements.describe(reading) for reading in measurements.distinct_measurements(logs)]

# %%
without_first = response_curves(logs, "original", {"first_conv": False})
without_first.groupby("label")["position"].max()

# %% [markdown]
# Does a deeper net change the signal less in each layer? A power of the depth, fitted to the means of the runs:

# %%
means = response_history.mean_responses(logs)
means.pivot_table(index="depth", columns="kind", values="mean").round(3)

# %%
fit_response_scaling(means)  # empty with fewer than three depths

# %% [markdown]
# Fig. 7 through training: the responses at every step they were captured at, as a map of step and layer, and as curves.

# %%
history = response_history.history(logs)
history.pivot_table(index="step", columns="label", values="mean", aggfunc="median").round(3)

# %%
section = through_training.build(logs)
section
