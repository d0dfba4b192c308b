"""CIFAR networks against PyTorch with the same weights: logits, gradients and running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from resjax import models
from resjax.config import Model
from resjax.models import layout

torch = pytest.importorskip("torch")
torch_net = pytest.importorskip("benchmarks.torch_net")


def torch_names(depth: int) -> dict[str, str]:
  """Returns the name of every module in the PyTorch network, whose layers are a list."""
  names, position = {"stem/conv": "0", "stem/norm": "1"}, 3
  for stage in (1, 2, 3):
    for block in range(1, (depth - 2) // 6 + 1):
      for layer in ("conv1", "norm1", "conv2", "norm2"):
        names[f"stage{stage}/block{block}/{layer}"] = f"{position}.{layer}"
      position += 1
  return names | {"head/dense": f"{position + 2}"}


LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def as_torch(tree, names):
  """Returns a tree of variables with the names and axis orders of PyTorch."""
  found = {}
  for path, leaf in traverse_util.flatten_dict(jax.tree.map(np.array, tree)).items():
    value = leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf.T
    found[f"{names['/'.join(path[:-1])]}.{LEAVES[path[-1]]}"] = torch.from_numpy(np.ascontiguousarray(value))
  return found


def ours(depth, images, labels):
  """Returns variables, logits, loss, gradients and updated statistics of the JAX network in float64."""
  build = models.build(Model(depth=depth), 10)
  variables = jax.jit(build.init, static_argnames="train")(jax.random.key(0), images, train=False)
  variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables)

  def loss_of(params):
    collections = {"params": params, "batch_stats": variables["batch_stats"]}
    logits, updates = build.apply(collections, images, train=True, mutable=["batch_stats"])
    return -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels].mean(), (logits, updates["batch_stats"])

  (loss, (logits, stats)), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(variables["params"])
  return variables, logits, loss, gradients, stats


@pytest.mark.parametrize("depth", [8, 20])
def test_results_are_those_of_pytorch(depth):
  rng = np.random.default_rng(0)
  images, labels = rng.normal(size=(8, 32, 32, 3)), rng.integers(0, 10, 8)
  with jax.enable_x64(True):
    variables, logits, loss, gradients, stats = ours(depth, images, labels)
  names, net = torch_names(depth), torch_net.resnet(depth).double()
  weights = {name: layout.unstacked(jax.tree.map(np.asarray, tree)) for name, tree in variables.items()}
  missing, unexpected = net.load_state_dict(
    as_torch(weights["params"], names) | as_torch(weights["batch_stats"], names), strict=False
  )
  assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
  theirs = net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
  their_loss = torch.nn.functional.cross_entropy(theirs, torch.from_numpy(labels))
  their_loss.backward()

  # Results of up to 20 layers in float64 agree to 1e-8 by norm.
  def close(one, other):
    assert torch.linalg.norm(one - other) <= 1e-8 * max(torch.linalg.norm(other), 1e-3)

  close(torch.from_numpy(np.array(logits)), theirs.detach())
  assert float(loss) == pytest.approx(their_loss.item(), rel=1e-10)
  found = as_torch(layout.unstacked(jax.tree.map(np.asarray, gradients)), names)
  for name, parameter in net.named_parameters():
    close(found[name], parameter.grad)
  after = as_torch(layout.unstacked(jax.tree.map(np.asarray, stats)), names)
  for name, buffer in net.named_buffers():
    if name.endswith("running_mean"):  # the running variance of PyTorch is unbiased
      close(after[name], buffer)
