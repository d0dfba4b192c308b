#!/usr/bin/env bash
# All comparisons that matter on a GPU, in order of worth, within eight minutes and without a network.
#
#   DATA=FOLDER OUT=FOLDER benchmarks/accelerator.sh          # on the GPU
#   DATA=FOLDER OUT=FOLDER TOY=1 benchmarks/accelerator.sh    # the same commands on a CPU, as small as they get
#
# DATA: CIFAR-10's .bin files. OUT: where the tables and JSON files go, each as soon as it is there.
# PYTHON: an interpreter with JAX and PyTorch (default: python3). WHEELS: a folder of wheels for what it lacks, made where
# there is a network by `pip download --no-deps --dest wheels ml-collections absl-py tqdm`.
# MINUTES: the whole budget (default 8). A part that would start after it is left out, and said.
set -uo pipefail
cd "$(dirname "$0")/.."
: "${DATA:?the folder of the .bin files}" "${OUT:?where results go}"
PYTHON=${PYTHON:-python3} MINUTES=${MINUTES:-8} TOY=${TOY:-}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
if [ -n "${WHEELS:-}" ]; then
  "$PYTHON" -m pip install --quiet --no-index --no-deps --target "$OUT/packages" "$WHEELS"/*.whl
  export PYTHONPATH="$OUT/packages${PYTHONPATH:+:$PYTHONPATH}"
fi
end=$((SECONDS + MINUTES * 60))
export XLA_PYTHON_CLIENT_MEM_FRACTION=0.4 # PyTorch's side of a comparison lives in the same process
export JAX_COMPILATION_CACHE_DIR="$OUT/compiled"

part() { # part NAME COMMAND...: runs a benchmark, with what is left of the time as its limit
  local name=$1 left=$((end - SECONDS))
  shift
  if [ $left -lt 20 ]; then
    echo "== $name: left out, the time is up"
    return
  fi
  echo "== $name"
  timeout "$left" "$PYTHON" -m "$@" --out="$OUT/$name.json" 2>"$OUT/$name.log" | tee "$OUT/$name.txt" || {
    echo "$name ended with an error or out of time:"
    tail -n 3 "$OUT/$name.log"
  }
}

if [ -n "$TOY" ]; then
  short=(--rounds=1 --seconds=0.1)
  part train_step benchmarks.train_step --depths=8 --batch_size=16 --unroll=1,1000 "${short[@]}"
  part train_step_bfloat16 benchmarks.train_step --depths=8 --batch_size=16 --unroll=1 --precision=bfloat16 "${short[@]}"
  part seeds benchmarks.seeds --depth=8 --batch_size=16 --seeds=2 "${short[@]}"
  part roofline benchmarks.roofline --depth=8 --batch_size=16 --copy_mib=64 "${short[@]}"
  part epoch benchmarks.epoch --data="$DATA" --depth=8 --images=512 --rounds=1
  part memory benchmarks.memory --depths=8 --timed_depths=8 --batch_size=16 "${short[@]}"
else
  short=(--rounds=3 --seconds=1)
  for depth in 20 110 56; do
    part "bfloat16_$depth" benchmarks.train_step --depths=$depth --unroll=1,3,1000 --precision=bfloat16 "${short[@]}" \
      --sides="resjax,torch.compile"
  done
  part seeds benchmarks.seeds --depth=20 --seeds=5 "${short[@]}"
  part roofline benchmarks.roofline --depth=110 --batch_size=1024 "${short[@]}"
  for depth in 20 110 56; do
    part "float32_$depth" benchmarks.train_step --depths=$depth --unroll=1,1000 "${short[@]}" --sides="resjax,torch.compile"
  done
  part epoch benchmarks.epoch --data="$DATA" --depth=20 --workers=8 --rounds=2
  part memory benchmarks.memory --depths=20,110,1202 --timed_depths=110 "${short[@]}"
fi
echo "done in $SECONDS s"
