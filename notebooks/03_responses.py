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
# Fig. 7 of the paper shows the standard deviation of the output of each 3x3 layer, after batch normalization and
# before the nonlinearity or the addition. In residual networks it is the strength of the residual functions.

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
# The paper does not say which images, which batch statistics and which layers it uses. Each recorded response
# therefore names them, and `response_curves` can select a measurement.

# %%
recorded = measurements.measured_responses(logs, {})  # an empty selection: all of them
[measurements.describe(measurement) for measurement in measurements.measurements_of(recorded)]

# %%
without_first = response_curves(logs, "original", {"first_conv": False})
without_first.groupby("label")["position"].max()

# %% [markdown]
# Does each layer of a deeper network change the signal less? A power of the depth is fitted to the means of the runs:

# %%
means = response_history.mean_responses(logs)
means.pivot_table(index="depth", columns="kind", values="mean").round(3)

# %%
fit_response_scaling(means)  # empty with fewer than three depths

# %% [markdown]
# Fig. 7 during training: the responses at every step at which they were recorded, as a map over steps and layers, and
# as curves.

# %%
history = response_history.history(logs)
history.pivot_table(index="step", columns="label", values="mean", aggfunc="median").round(3)

# %%
section = through_training.build(logs)
section
