"""What a layer knows of the classes, and how far each block moves it, from globally pooled features. No JAX."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import special
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

RCOND = 1e-6  # eigenvalues of the between-class covariance below this fraction of the largest count as zero
RIDGE = 0.01  # penalty of the ridge probe per training image, on standardized features


def separation(features: np.ndarray, labels: np.ndarray) -> float:
  """Returns D = Tr(S_w pinv(S_b)), small where classes lie apart (He and Su, PNAS 2023, "separation fuzziness").

  Args:
    features: [images, channels].
    labels: Classes, [images].

  Returns:
    D; nan where all class means are equal.
  """
  within = between = np.zeros((features.shape[1],) * 2)
  middle = features.mean(0)
  for label in np.unique(labels):
    own = features[labels == label]
    mean = own.mean(0)
    within = within + (own - mean).T @ (own - mean)
    between = between + len(own) * np.outer(mean - middle, mean - middle)
  found = float(np.trace(within @ np.linalg.pinv(between, rcond=RCOND, hermitian=True)))
  return found if found > 0 else np.nan


def nearest_mean_error(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
  """Returns the test error of the nearest class mean.

  scikit-learn's NearestCentroid refuses features that do not vary, as those of a dead network.

  Args:
    train: Features [images, channels] and labels [images] that the means are taken over.
    test: Features and labels that are classified.
  """
  (features, labels), (test_features, test_labels) = train, test
  classes = np.unique(labels)
  means = np.stack([features[labels == label].mean(0) for label in classes])
  squared = np.square(test_features[:, None] - means).sum(-1)
  return float((classes[squared.argmin(1)] != test_labels).mean())


def ridge_error(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
  """Returns the test error of a linear probe: ridge regression on standardized features.

  Args:
    train: Features [images, channels] and labels [images] that the probe is fitted to.
    test: Features and labels that are classified.
  """
  (features, labels), (test_features, test_labels) = train, test
  probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=RIDGE * len(labels))).fit(features, labels)
  return float((probe.predict(test_features) != test_labels).mean())


def logits_error_and_loss(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
  """Returns the error, a fraction, and the mean cross-entropy, in nats, of logits [images, classes]."""
  right = np.take_along_axis(logits, labels[:, None], 1)[:, 0]
  loss = float((special.logsumexp(logits, axis=1) - right).mean())
  return float((logits.argmax(1) != labels).mean()), loss


def steps(path: Sequence[np.ndarray]) -> list[tuple[float, float]]:
  """Measures each step of the path of features through the blocks of a stage (Li and Papyan, arXiv 2401.09018).

  Args:
    path: Features at the places of the path, each [images, channels].

  Returns:
    Length and alignment of each step. The length is the mean of the step's norm over the images, divided by that of
    the whole way from the first place to the last; the alignment is the mean cosine of the angle to the whole way.
  """
  way = path[-1] - path[0]
  way_norm = np.linalg.norm(way, axis=1)
  found = []
  for before, after in itertools.pairwise(path):
    step = after - before
    norm = np.linalg.norm(step, axis=1)
    moved = (norm > 0) & (way_norm > 0)
    if not moved.any():
      found.append((np.nan, np.nan))
      continue
    cosine = (step * way).sum(1)[moved] / (norm * way_norm)[moved]
    found.append((float(norm.mean() / way_norm.mean()), float(cosine.mean())))
  return found
