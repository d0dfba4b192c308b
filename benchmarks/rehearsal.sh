#!/usr/bin/env bash
# Rehearses accelerator_session.sh as on the bare GPU machine, on a CPU: its packages, no network, the carried files.
#
#   DATA=FOLDER OUT=FOLDER benchmarks/rehearsal.sh
#
# DATA: CIFAR-10's .bin files in `cifar-10-batches-bin`, or the two halves with `carry_cifar10.py`. OUT: where the
# session's logs, tables and archives go. Needs Python 3.12 (PYTHON312), a package index for the first step, and the
# right to make a network namespace (`unshare -n`), for all the others.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${DATA:?CIFAR-10}" "${OUT:?where results go}"
PYTHON312=${PYTHON312:-python3.12}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd) DATA=$(cd "$DATA" && pwd)
work=$OUT/work
mkdir -p "$work"

if [ ! -x "$work/venv/bin/python" ]; then
  "$PYTHON312" -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --no-compile jax==0.11.2 flax optax orbax-checkpoint chex einops jinja2 pandas \
    pyarrow matplotlib scipy scikit-learn opencv-python-headless pillow safetensors tqdm absl-py
  "$work/venv/bin/pip" download --quiet --no-deps --dest "$work/carry/wheels" ml-collections
fi
carry() { # carry PATTERN: what travels with a call
  find "$work/carry" -maxdepth 1 ! -name carry ! -name wheels -exec rm -rf {} +
  for path in $DATA/$1; do [ -e "$path" ] && ln -sfn "$path" "$work/carry/"; done
  ln -sfn "$DATA"/cifar-10-batches-bin "$DATA"/carry_cifar10.py "$work/carry/" 2>/dev/null || true
}
session() { # session CALL: as on the machine, without a network
  echo "== $1"
  unshare -n env -u VIRTUAL_ENV TOY=1 CARRY="$work/carry" OUT="$OUT/$1" WORK="$work/session" MINUTES="${MINUTES:-9}" \
    PYTHON="$work/venv/bin/python" JAX_NUM_CPU_DEVICES=1 benchmarks/accelerator_session.sh "$1"
}

rm -rf "$work/session" "$OUT/measure" "$OUT/train"
carry 'half1.npz'
session measure
carry 'half2.npz'
session train
ls -l "$OUT/measure" "$OUT/train"
# Without a GPU and PyTorch these cases must fail, and no others.
if grep -h "^case .* failed " "$OUT"/measure/*.log | grep -v "nosuch\|side=torch"; then
  echo "cases failed that must not" >&2
  exit 1
fi
