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
# # Read the logs
#
# A run directory holds plain JSON and JSON lines; `load` makes pandas frames of all runs below a directory. No JAX is
# needed: `pip install '.[analysis]'`. The logs beside this notebook are the `quickstart` experiment's: plain and
# residual nets on 8x8 handwritten digits.

# %%
import tempfile
from pathlib import Path

import pandas as pd

from resjax.analysis import error_curves, load, progress

logs = load("logs/quickstart")
logs.runs[["id", "kind", "depth", "seed", "status", "step", "params", "test_error"]]

# %% [markdown]
# Every frame begins with the same columns that say which run a line is of: `net` is the run's id without its seed.

# %%
logs.metrics.tail()

# %% [markdown]
# What is in which frame:

# %%
frames = {
  name: getattr(logs, name)
  for name in ("runs", "metrics", "responses", "gradients", "settings", "deviations", "events")
}
pd.DataFrame({"rows": {name: len(frame) for name, frame in frames.items()}})

# %% [markdown]
# Studies of the trained nets have frames of their own:

# %%
{name: len(frame) for name, frame in logs.studies.items()}

# %% [markdown]
# A pivot is all it takes to compare seeds: the last test error in percent of every run.

# %%
test = logs.metrics[logs.metrics["split"] == "test"]
last = test.sort_values("step").groupby("id").last()
(100 * last.pivot_table(index=["kind", "depth"], columns="seed", values="error")).round(2)

# %% [markdown]
# `progress` says how far each run is, also while they are training; `error_curves` averages the seeds at each step.

# %%
progress(logs)[["id", "status", "progress", "train_error", "error"]]

# %%
curves = error_curves(logs)
curves[(curves["split"] == "test") & (curves["step"] == curves["step"].max())]

# %% [markdown]
# What a run was told, setting by setting, and where that is not what the paper did:

# %%
settings = logs.settings[logs.settings["id"] == logs.runs["id"].iloc[0]].set_index("key")["value"]
settings[["model.kind", "model.depth", "train.steps", "train.batch_size", "responses.mode"]]

# %%
logs.deviations.drop_duplicates("name")[["name", "paper", "here"]]

# %% [markdown]
# For other tools the frames can be written as Parquet:

# %%
with tempfile.TemporaryDirectory() as folder:
  written = logs.write_parquet(folder)
  again = pd.read_parquet(Path(folder) / "metrics.parquet")
assert len(again) == len(logs.metrics)
[path.name for path in written]
