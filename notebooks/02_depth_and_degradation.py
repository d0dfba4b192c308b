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
# The paper's observation: plain nets get worse when they are deeper, in training too; residual nets do not. Does it
# show in these logs, and what can be said of it with so few seeds and so small a test set?

# %%
from resjax.analysis import errors, load
from resjax.analysis.figures import figure6
from resjax.analysis.paper_comparison import compare_with_paper
from resjax.analysis.seed_statistics import comparisons, intervals

logs = load("logs/quickstart")
errors(logs)[["label", "runs", "done", "test_error", "test_spread", "sampling_error", "train_error"]]

# %% [markdown]
# Fig. 6: training error dashed, test error bold, the band from the lowest to the highest seed.

# %%
plain, residual = figure6(logs)
plain

# %%
residual

# %% [markdown]
# An error has two uncertainties: another seed would give another net (`low` to `high` is Student's 95 % interval of the
# mean over seeds), another test set another error (`sampling_error`, of one run).

# %%
intervals(logs).query("measure == 'test'")

# %% [markdown]
# "Deeper is worse" is a claim about pairs of nets, so it is tested in pairs: the difference of each seed, Student's t
# of the differences, the p values corrected for how many are looked at (Holm).

# %%
tests = comparisons(logs)
tests.query("question == 'depth' and measure == 'test'")[
  ["label", "than_label", "seeds", "difference", "low", "high", "sampling_error", "p_holm", "verdict"]
]

# %% [markdown]
# If the deeper net's training error is higher too, it is not overfitting:

# %%
tests.query("question == 'depth' and measure == 'train'")[["label", "than_label", "difference", "p_holm", "verdict"]]

# %% [markdown]
# And the shortcut's part, at each depth:

# %%
tests.query("question == 'shortcut'")[["label", "than_label", "measure", "difference", "low", "high", "verdict"]]

# %% [markdown]
# Beside the paper's own numbers stands a verdict, and here it has to be that they cannot be compared:

# %%
compare_with_paper(logs)[["label", "claim", "here", "paper_low", "verdict", "reason"]]
