"""Wall-clock time of an epoch of CIFAR-10: shuffling, crops, flips, training, loss and error of every minibatch.

    pip install torch
    python -m benchmarks.epoch --data FOLDER [--depth 20] [--batch_size 128] [--rounds 3] [--out epoch.json]

resjax executes the epoch as in a run. The PyTorch loop is the usual one: a Dataset that pads, crops and flips, a
shuffling DataLoader with worker processes, eager SGD, and sums of loss and error. --images limits the training set.
"""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from benchmarks import measure
from resjax import data, mesh, models
from resjax.config import Config, Data, Execution, Model, Train
from resjax.data import Dataset
from resjax.train import batched_runs, state
from resjax.train.input import in_memory

_DATA = flags.DEFINE_string("data", None, "CIFAR-10 archive or folder.", required=True)
_DEPTH = flags.DEFINE_integer("depth", 20, "Depth of the residual network.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per step.")
_IMAGES = flags.DEFINE_integer("images", 50_000, "Training images of an epoch.")
_WORKERS = flags.DEFINE_integer("workers", 2, "Processes of the DataLoader.")
_CHANNELS_LAST = flags.DEFINE_bool("channels_last", False, "PyTorch's memory format.")
PAD = 4


def resjax_epoch(dataset: Dataset) -> Callable[[], float]:
  """Returns a function that trains an epoch with resjax and returns the mean loss."""
  settings = Config(
    model=Model(depth=_DEPTH.value),
    train=Train(batch_size=_BATCH.value),
    data=Data(),
    execution=Execution(log_every=100),
  )
  devices = mesh.make(settings)
  with jax.set_mesh(devices):
    net = models.build(settings.model, dataset.classes)
    images = in_memory.InMemoryInput(settings, dataset, net)
    start = state.initial(settings.model, settings.train, dataset.classes, dataset.train_images.shape[1:], 0)
    states = jax.device_put(batched_runs.stack([start]), mesh.replicated(devices))
  hyperparameters, done = batched_runs.hyperparameters([settings.train]), 0

  def epoch() -> float:
    nonlocal states, done
    end, losses = done + images.images // _BATCH.value, []
    with jax.set_mesh(devices):
      while done < end:
        begun, done = done, min(done + settings.execution.log_every, end)
        states, interval = images.advance(states, hyperparameters, done, settings.execution.log_every)
        losses.append((done - begun, interval))
      return sum(float(interval.loss[0]) for _, interval in losses) / sum(steps for steps, _ in losses)

  return epoch


def torch_epoch(dataset: Dataset) -> Callable[[], float]:
  """Returns a function that trains an epoch with PyTorch and returns the mean loss."""
  import torch

  from benchmarks.torch_net import resnet

  device = "cuda" if torch.cuda.is_available() else "cpu"
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  layout = torch.channels_last if _CHANNELS_LAST.value else torch.contiguous_format
  mean = torch.tensor(dataset.train_images.mean(0) / 255, dtype=torch.float32).permute(2, 0, 1)

  class Augmented(torch.utils.data.Dataset):
    """CIFAR images, normalized, padded, cropped and flipped one by one."""

    def __len__(self) -> int:
      return len(dataset.train_labels)

    def __getitem__(self, index: int):
      image = torch.from_numpy(dataset.train_images[index]).permute(2, 0, 1).float() / 255 - mean
      image = torch.nn.functional.pad(image, (PAD, PAD, PAD, PAD))
      row, column = torch.randint(0, 2 * PAD + 1, (2,)).tolist()
      image = image[:, row : row + 32, column : column + 32]
      if torch.rand(()) < 0.5:
        image = image.flip(2)
      return image, int(dataset.train_labels[index])

  loader = torch.utils.data.DataLoader(
    Augmented(), _BATCH.value, shuffle=True, drop_last=True, num_workers=_WORKERS.value, persistent_workers=True
  )
  net = resnet(_DEPTH.value).to(device, memory_format=layout)
  sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)

  def epoch() -> float:
    losses, wrong = [], 0
    for images, labels in loader:
      images, labels = images.to(device, memory_format=layout), labels.to(device)
      sgd.zero_grad()
      logits = net(images)
      loss = torch.nn.functional.cross_entropy(logits, labels)
      loss.backward()
      sgd.step()
      losses.append(loss.item())
      wrong += int((logits.argmax(1) != labels).sum())
    return float(np.mean(losses))

  return epoch


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  dataset = data.load(Data(path=_DATA.value, checksum="any"))
  if _IMAGES.value < len(dataset.train_labels):
    dataset = dataclasses.replace(
      dataset, train_images=dataset.train_images[: _IMAGES.value], train_labels=dataset.train_labels[: _IMAGES.value]
    )
  epochs = {"resjax": resjax_epoch(dataset), "torch, DataLoader": torch_epoch(dataset)}
  seconds: dict[str, list[float]] = {name: [] for name in epochs}
  first: dict[str, float] = {}
  for round_ in range(measure.ROUNDS.value + 1):
    for name, epoch in epochs.items():
      start = time.perf_counter()
      loss = epoch()
      if round_:
        seconds[name].append(time.perf_counter() - start)
      else:  # compiles, starts the workers
        first[name] = time.perf_counter() - start
      print(f"epoch {round_}: {name}: mean loss {loss:.3f}, {time.perf_counter() - start:.1f} s", flush=True)
  ours = statistics.median(seconds["resjax"])
  rows = [
    {
      "side": name,
      "first epoch s": f"{first[name]:.1f}",
      "epoch s": measure.spread(values, 1),
      "over resjax": f"{statistics.median(values) / ours:.2f}",
    }
    for name, values in seconds.items()
  ]
  measure.report(rows, depth=_DEPTH.value, batch_size=_BATCH.value, images=len(dataset.train_labels), seconds=seconds)


if __name__ == "__main__":
  app.run(main)
