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
# # Depth and degradation
#
# The paper observes that deeper plain networks have a higher error, also on the training set, and that deeper
# residual networks do not. Do these logs show the same, and how certain is it with few seeds and a small test set?

# %%
from resjax.analysis import errors, load
from resjax.analysis.figures import figure6
from resjax.analysis.paper_comparison import compare_with_paper
from resjax.analysis.seed_statistics import comparisons, intervals

logs = load("logs/quickstart")
errors(logs)[["label", "runs", "done", "test_error", "test_spread", "sampling_error", "train_error"]]

# %% [markdown]
# Fig. 6: the training error is dashed, the test error bold, and the band reaches from the lowest to the highest seed.

# %%
plain, residual = figure6(logs)
plain

# %%
residual

# %% [markdown]
# An error has two uncertainties. Another seed would give another network: `low` to `high` is Student's 95 % interval
# of the mean over seeds. Another test set would give another error: `sampling_error` is its standard error for one
# run.

# %%
intervals(logs).query("measure == 'test'")

# %% [markdown]
# "Deeper is worse" is a claim about pairs of networks, so it is tested in pairs. The test is Student's t test of the
# differences between networks with the same seed. The p values are corrected for the number of pairs (Holm).

# %%
tests = comparisons(logs)
tests.query("question == 'depth' and measure == 'test'")[
  ["label", "than_label", "seeds", "difference", "low", "high", "sampling_error", "p_holm", "verdict"]
]

# %% [markdown]
# If the training error of the deeper network is also higher, the reason is not overfitting:

# %%
tests.query("question == 'depth' and measure == 'train'")[["label", "than_label", "difference", "p_holm", "verdict"]]

# %% [markdown]
# The effect of the shortcut at each depth:

# %%
tests.query("question == 'shortcut'")[["label", "than_label", "measure", "difference", "low", "high", "verdict"]]

# %% [markdown]
# `compare_with_paper` gives a verdict on each published number. Here the errors cannot be compared, for the reasons
# that it states:

# %%
compare_with_paper(logs)[["label", "claim", "here", "paper_low", "verdict", "reason"]]
