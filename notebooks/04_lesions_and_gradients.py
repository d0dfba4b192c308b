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
# # Lesions and gradients
#
# Two ways to see what a shortcut does: how strong the gradient still is when it has come back to the first layer, and
# how much a trained net suffers when a block is taken out.
#
# Gradients are captured in training, `--config.gradients.steps=(0,5,20)`, or of a checkpoint; lesions are a study of
# checkpoints:
#
#     python -m resjax.study gradients --workdir runs
#     python -m resjax.study lesion --workdir runs
#
# The records are beside this notebook, so that nothing has to be trained here.

# %%
from resjax.analysis import load
from resjax.analysis.sections import gradients, lesions

logs = load("logs/gradients")
captured = gradients.gradients(logs)
captured.groupby(["net", "step"])["norm"].agg(["min", "median", "max"])

# %% [markdown]
# The first layer's gradient against the last one's, before training and after: a number far below one has vanished on
# its way back, one far above one has exploded.

# %%
ends = captured.sort_values("layer").groupby(["net", "step"])["norm"].agg(["first", "last"])
(ends["first"] / ends["last"]).unstack("net").round(3)

# %% [markdown]
# The report's section, with its figures:

# %%
gradients.build(logs)

# %% [markdown]
# Lesions: trained nets of 20 layers with a block taken out, several, or blocks in another order. A residual net with a
# block taken out is still a net of many shorter paths; a plain net has one path.

# %%
trained = load("logs/lesions")
section = lesions.build(trained)
section.data["lesions"]

# %%
section
