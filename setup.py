"""What pyproject.toml cannot say: in a wheel the experiments lie below the package, as `resjax/experiments`."""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=["resjax*"]), "resjax.experiments"],
  package_dir={"resjax.experiments": "experiments"},
)
