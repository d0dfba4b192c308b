#!/usr/bin/env bash
# Installs Debian's Slurm if it is not installed, and resolves the names of its two nodes to this machine, because the
# processes of a run connect to each other by these names.
set -euo pipefail
if ! command -v slurmctld slurmd munged > /dev/null; then
  apt-get update --quiet
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends slurm-wlm munge
fi
for node in n1 n2; do
  getent hosts "$node" > /dev/null || echo "127.0.0.1 $node" >> /etc/hosts
done
