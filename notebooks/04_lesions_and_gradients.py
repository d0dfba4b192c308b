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
# Two measurements show what a shortcut does: how strong the gradient still is at the first layer, and how much the
# error of a trained network rises when a block is deleted.
#
# Gradients are recorded during training, with `'--config.gradients.steps=(0,5,20)'`, or from a checkpoint. Lesions are
# a study of checkpoints:
#
#     python -m resjax.study gradients --workdir runs
#     python -m resjax.study lesion --workdir runs
#
# The records are beside this notebook, so nothing has to be trained here.

# %%
from resjax.analysis import load
from resjax.analysis.sections import gradients, lesions

logs = load("logs/gradients")
captured = gradients.gradients(logs)
captured.groupby(["net", "step"])["norm"].agg(["min", "median", "max"])

# %% [markdown]
# The ratio of the gradient norm of the first layer to that of the last layer, before and after training. Far below
# one, the gradient vanishes on its way back; far above one, it explodes.

# %%
ends = captured.sort_values("layer").groupby(["net", "step"])["norm"].agg(["first", "last"])
(ends["first"] / ends["last"]).unstack("net").round(3)

# %% [markdown]
# The section of the report, with its figures:

# %%
gradients.build(logs)

# %% [markdown]
# Lesions: trained networks of 20 layers with one or several blocks deleted, or with blocks in another order. A
# residual network without one of its blocks still consists of many shorter paths; a plain network has only one path.

# %%
trained = load("logs/lesions")
section = lesions.build(trained)
section.data["lesions"]

# %%
section
