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
# A run directory contains JSON files and JSON lines. `load` returns pandas frames of all runs below a directory. It
# needs no JAX: `pip install '.[analysis]'`. The logs beside this notebook come from the experiment `quickstart`:
# plain and residual networks on 8x8 handwritten digits.

# %%
import tempfile
from pathlib import Path

import pandas as pd

from resjax.analysis import error_curves, load, progress

logs = load("logs/quickstart")
logs.runs[["id", "kind", "depth", "seed", "status", "step", "params", "test_error"]]

# %% [markdown]
# Every frame begins with the same columns, which identify the run of each line. `net` is the id of the run without
# its seed.

# %%
logs.metrics.tail()

# %% [markdown]
# The frames and their numbers of rows:

# %%
frames = {
  name: getattr(logs, name)
  for name in ("runs", "metrics", "responses", "gradients", "settings", "deviations", "events")
}
pd.DataFrame({"rows": {name: len(frame) for name, frame in frames.items()}})

# %% [markdown]
# Studies of trained networks have separate frames:

# %%
{name: len(frame) for name, frame in logs.studies.items()}

# %% [markdown]
# A pivot table compares the seeds. It shows the last test error of every run in percent.

# %%
test = logs.metrics[logs.metrics["split"] == "test"]
last = test.sort_values("step").groupby("id").last()
(100 * last.pivot_table(index=["kind", "depth"], columns="seed", values="error")).round(2)

# %% [markdown]
# `progress` shows how far each run has come, also during training. `error_curves` averages over the seeds at each
# step.

# %%
progress(logs)[["id", "status", "progress", "train_error", "error"]]

# %%
curves = error_curves(logs)
curves[(curves["split"] == "test") & (curves["step"] == curves["step"].max())]

# %% [markdown]
# The settings of a run, and its deviations from the paper:

# %%
settings = logs.settings[logs.settings["id"] == logs.runs["id"].iloc[0]].set_index("key")["value"]
settings[["model.kind", "model.depth", "train.steps", "train.batch_size", "responses.mode"]]

# %%
logs.deviations.drop_duplicates("name")[["name", "paper", "here"]]

# %% [markdown]
# Other tools can read the frames as Parquet files:

# %%
with tempfile.TemporaryDirectory() as folder:
  written = logs.write_parquet(folder)
  again = pd.read_parquet(Path(folder) / "metrics.parquet")
assert len(again) == len(logs.metrics)
[path.name for path in written]
