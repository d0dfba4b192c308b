"""Measures of globally pooled features: class separation, errors of probes, and steps from block to block. No JAX."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import special
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

RCOND = 1e-6  # fraction of the largest eigenvalue of the between-class covariance below which others are treated as 0
RIDGE = 0.01  # regularization of the ridge probe on standardized features, per training image


def separation(features_NxC: np.ndarray, labels_N: np.ndarray) -> float:
  """Returns the separation fuzziness D = Tr(S_w pinv(S_b)) (He and Su, PNAS 2023); it is small for separated classes.

  Args:
    features_NxC: Features of N images.
    labels_N: Classes of the images.

  Returns:
    D; NaN if all class means are equal.
  """
  within = between = np.zeros((features_NxC.shape[1],) * 2)
  overall_mean = features_NxC.mean(0)
  for label in np.unique(labels_N):
    own = features_NxC[labels_N == label]
    mean = own.mean(0)
    within = within + (own - mean).T @ (own - mean)
    between = between + len(own) * np.outer(mean - overall_mean, mean - overall_mean)
  found = float(np.trace(within @ np.linalg.pinv(between, rcond=RCOND, hermitian=True)))
  return found if found > 0 else np.nan


def nearest_mean_error(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
  """Returns the test error of the nearest class mean classifier, a fraction.

  scikit-learn's NearestCentroid rejects constant features, which networks with dead units have.

  Args:
    train: Features [images, channels] and labels [images] from which the class means are computed.
    test: Features and labels of the test images.
  """
  (features, labels), (test_features, test_labels) = train, test
  classes = np.unique(labels)
  means = np.stack([features[labels == label].mean(0) for label in classes])
  squared = np.square(test_features[:, None] - means).sum(-1)
  return float((classes[squared.argmin(1)] != test_labels).mean())


def ridge_error(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
  """Returns the test error of a linear probe, ridge regression on standardized features, as a fraction.

  Args:
    train: Features [images, channels] and labels [images] to which the probe is fitted.
    test: Features and labels of the test images.
  """
  (features, labels), (test_features, test_labels) = train, test
  probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=RIDGE * len(labels))).fit(features, labels)
  return float((probe.predict(test_features) != test_labels).mean())


def logits_error_and_loss(logits_NxC: np.ndarray, labels_N: np.ndarray) -> tuple[float, float]:
  """Returns the error, a fraction, and the mean cross-entropy in nats of the logits of N images."""
  right = np.take_along_axis(logits_NxC, labels_N[:, None], 1)[:, 0]
  loss = float((special.logsumexp(logits_NxC, axis=1) - right).mean())
  return float((logits_NxC.argmax(1) != labels_N).mean()), loss


def steps(path: Sequence[np.ndarray]) -> list[tuple[float, float]]:
  """Measures the change of the features from position to position of a stage (Li and Papyan, arXiv:2401.09018).

  Args:
    path: Features at the positions of the stage, each [images, channels].

  Returns:
    Length and alignment of each step. The length is the norm of the step over the norm of the total change from the
    first to the last position, both means over the images. The alignment is the mean cosine of the angle between the
    step and the total change.
  """
  total = path[-1] - path[0]
  total_norm = np.linalg.norm(total, axis=1)
  found = []
  for before, after in itertools.pairwise(path):
    step = after - before
    norm = np.linalg.norm(step, axis=1)
    defined = (norm > 0) & (total_norm > 0)
    if not defined.any():
      found.append((np.nan, np.nan))
      continue
    cosine = (step * total).sum(1)[defined] / (norm * total_norm)[defined]
    found.append((float(norm.mean() / total_norm.mean()), float(cosine.mean())))
  return found
