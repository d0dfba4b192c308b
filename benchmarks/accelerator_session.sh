#!/usr/bin/env bash
# The paper's depth study on an accelerator, the whole schedule, for as long as the time lasts: runs in order of worth,
# without a network, going on where an earlier session stopped.
#
#   DATA=FOLDER OUT=FOLDER benchmarks/accelerator_session.sh [SETTING ...]          # on the accelerator
#   DATA=FOLDER OUT=FOLDER TOY=1 benchmarks/accelerator_session.sh [SETTING ...]    # the same on a CPU, in minutes
#
# DATA: CIFAR-10's .bin files. OUT: a work directory; give the one an earlier session left, and its runs continue.
# SETTING: of every run, such as --config.data.checksum=any. PYTHON: an interpreter with JAX (default: python3).
# WHEELS: a folder of wheels for what it lacks. MINUTES: the whole budget (default 25); the run in progress then saves
# and stops, and the exit code is 75. 0: all runs are done. Records are written all along, a checkpoint every 2,000 steps.
set -uo pipefail
cd "$(dirname "$0")/.."
: "${DATA:?the folder of the .bin files}" "${OUT:?the work directory}"
PYTHON=${PYTHON:-python3} MINUTES=${MINUTES:-25} TOY=${TOY:-}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
if [ -n "${WHEELS:-}" ]; then
  "$PYTHON" -m pip install --quiet --no-index --no-deps --target "$OUT/.packages" "$WHEELS"/*.whl
  export PYTHONPATH="$OUT/.packages${PYTHONPATH:+:$PYTHONPATH}"
fi
end=$((SECONDS + MINUTES * 60)) failed=0
settings=(--config.data.path="$DATA" --config.checkpoint.every=2000 --config.checkpoint.keep=1 "$@")
shortened=16000
if [ -n "$TOY" ]; then
  settings+=(--config.train.steps=20 --config.train.batch_size=16 --config.model.width=2 --config.execution.log_every=5
    --config.checkpoint.every=10 --config.evaluation.every=20 --config.responses.images=512)
  shortened=10
fi

runs() { # runs SELECTION [SETTING ...]: trains what is selected of the sweep, within what is left of the time
  local left=$((end - SECONDS)) only=$1 code
  shift
  if [ $left -lt 30 ]; then
    echo "== the time is up before $only"
    exit 75
  fi
  echo "== $only"
  timeout --signal=TERM --kill-after=60 "$left" "$PYTHON" -m resjax.main --config cifar_depth_sweep --workdir "$OUT" \
    --only "$only" "${settings[@]}" "$@"
  code=$?
  case $code in
    0) ;;
    75 | 124 | 137) echo "== stopped after $SECONDS s; the same command goes on" && exit 75 ;;
    2) exit 2 ;;
    *) failed=1 ;;
  esac
}

runs "kind=residual depth=20,56 seed=0"
runs "kind=plain depth=20,56 seed=0"
runs "kind=residual depth=110 seed=0"
runs "kind=residual depth=32,44 seed=0"
runs "kind=plain depth=32,44,110 seed=0"
# A quarter of the schedule: another experiment folder by its own work directory, for a run is what its settings are.
OUT="$OUT/shortened" runs "depth=1202 seed=0" --config.train.steps=$shortened --config.execution.remat=group
for depth in 20 56 32 44 110; do
  runs "depth=$depth seed=1,2,3,4" --config.execution.together=4
done
echo "== all runs are done, in $SECONDS s"
exit $failed
