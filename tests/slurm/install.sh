#!/usr/bin/env bash
# Installs Debian's Slurm, unless it is there.
set -euo pipefail
command -v slurmctld slurmd munged > /dev/null && exit
apt-get update --quiet
DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends slurm-wlm munge
