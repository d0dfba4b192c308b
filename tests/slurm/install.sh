#!/usr/bin/env bash
# Installs Debian's Slurm, unless it is there, and lets the names of its two nodes mean this machine, as processes of
# one run ask for each other by them.
set -euo pipefail
if ! command -v slurmctld slurmd munged > /dev/null; then
  apt-get update --quiet
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends slurm-wlm munge
fi
for node in n1 n2; do
  getent hosts "$node" > /dev/null || echo "127.0.0.1 $node" >> /etc/hosts
done
