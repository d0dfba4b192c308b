#!/usr/bin/env bash
# A GPU for a quarter of an hour: what is measured and trained on it, in two calls, without a network.
#
#   CARRY=FOLDER OUT=FOLDER benchmarks/accelerator_session.sh measure      # about 3 minutes
#   CARRY=FOLDER OUT=FOLDER benchmarks/accelerator_session.sh sharing      # a part of it, about 1 minute
#   CARRY=FOLDER OUT=FOLDER benchmarks/accelerator_session.sh train        # the rest; MINUTES, default 9
#
# `measure` runs the real command for 50 steps, and again from half of them; then it times the ways to execute a training
# step, and PyTorch beside them, and writes what was fastest to $WORK/choice.env. `train` reads that and trains the
# networks of experiments/cifar_depth_sweep.py on the paper's whole schedule, in order of worth, until they are done or
# the time is up; they are then saved, and go on in another session whose CARRY has their archives in `continue/`.
# Each step has a log of its own in OUT and a time limit, and its failure costs nothing else.
#
# CARRY: what the machine lacks: `wheels/`, the name of the commit in a file `commit`, and CIFAR-10, as `half1.npz` in the first call and `half2.npz` in the second
# with `carry_cifar10.py`, or whole in `cifar-10-batches-bin/`. OUT: where logs, tables and archives of at most 15 MiB
# go. WORK: kept between the calls (default: /tmp/resjax-session). PYTHON: an interpreter with JAX (default: python3).
# TOY=1: the same commands on a CPU, as small as they get; benchmarks/rehearsal.sh does that as on a bare machine.
set -uo pipefail
cd "$(dirname "$0")/.."
: "${CARRY:?what the machine lacks}" "${OUT:?where results go}"
PYTHON=${PYTHON:-python3} TOY=${TOY:-} WORK=${WORK:-/tmp/resjax-session} MINUTES=${MINUTES:-9}
mkdir -p "$OUT" "$WORK/halves"
OUT=$(cd "$OUT" && pwd) CARRY=$(cd "$CARRY" && pwd) WORK=$(cd "$WORK" && pwd)
export PYTHONUNBUFFERED=1 PYTHONPATH="$WORK/packages${PYTHONPATH:+:$PYTHONPATH}" XLA_PYTHON_CLIENT_PREALLOCATE=false

say() { echo "[$SECONDS s] $*"; }

step() { # step NAME SECONDS COMMAND...: runs a command with a time limit; its output goes to a log
  local name=$1 limit=$2 start=$SECONDS code
  shift 2
  timeout --signal=TERM --kill-after=20 "$limit" "$@" >"$OUT/$name.log" 2>&1
  code=$?
  say "$name: exit $code after $((SECONDS - start)) s"
  case $code in 0 | 75) ;; *) tail -n 12 "$OUT/$name.log" | cut -c1-600 | sed "s/^/  $name: /" ;; esac
  return $code
}

forms() { # forms NAME SECONDS CASES [FLAG ...]: times ways to execute a training step
  local name=$1 limit=$2 cases=$3
  shift 3
  step "$name" "$limit" "$PYTHON" -m benchmarks.execution_forms --cases="$cases" --lock="$WORK/timing" \
    --out="$OUT/$name.json" "${short[@]}" "$@"
  sed -n "s/^case \([0-9]\)/  $name: \1/p" "$OUT/$name.log"
}

install() {
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$WORK/packages" "$CARRY"/wheels/*.whl
  [ -f "$CARRY/commit" ] && RESJAX_COMMIT=$(cat "$CARRY/commit") && export RESJAX_COMMIT
  cp "$CARRY"/half?.npz "$CARRY"/carry_cifar10.py "$WORK/halves/" 2>/dev/null
  say "installed $(ls "$CARRY/wheels" | tr '\n' ' ')"
}

measure() {
  local short=(--rounds=3 --seconds=0.4) steps=50 small=()
  local images='x = lambda n: numpy.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), numpy.uint8)
y = lambda n: numpy.arange(n) % 10
numpy.savez(sys.argv[1], x_train=x(5000), y_train=y(5000), x_test=x(1000), y_test=y(1000))'
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit --format=csv 2>&1
  command -v nvidia-cuda-mps-control || echo "no nvidia-cuda-mps-control"
  install
  "$PYTHON" -c "import numpy, sys; $images" "$WORK/random.npz"
  local one="20/bfloat16,20/float32,110/bfloat16,110/float32,56/bfloat16,56/float32,20/bfloat16/unroll=1,20/bfloat16/unroll=3"
  one+=",110/bfloat16/unroll=1,110/bfloat16/batch=1024,1202/bfloat16/remat=group"
  one+=",20/bfloat16/options=xla_gpu_exclude_nondeterministic_ops:True"
  local seeds="20/bfloat16/seeds=5/form=vmap,20/float32/seeds=5/form=vmap,20/bfloat16/seeds=5/form=unrolled"
  seeds+=",20/bfloat16/seeds=5/form=unrolled/options=xla_gpu_command_buffer_scheduling_mode:CONCURRENT"
  local torch20="20/bfloat16/side=torch.compile/form=reduce-overhead,20/float32/side=torch.compile/form=reduce-overhead"
  local torch110=${torch20//20\//110\/} pair="20/bfloat16"
  if [ -n "$TOY" ]; then
    short=(--rounds=1 --seconds=0.1) steps=10 small=(--config.model.width=2 --config.train.batch_size=16)
    one="8/float32/batch=16,8/float32/batch=16/unroll=1,8/bfloat16/batch=16,8/nosuch"
    seeds="8/float32/batch=16/seeds=2/form=vmap,8/float32/batch=16/seeds=2/form=unrolled"
    torch20="8/float32/side=torch.compile/form=default/batch=16" torch110="" pair="8/float32/batch=16"
  fi

  forms one 150 "$one" --threads=12 &
  forms seeds 150 "$seeds" &
  forms torch20 150 "$torch20" --threads=1 &
  [ -n "$torch110" ] && forms torch110 150 "$torch110" --threads=1 &
  # As XLA has it by default: a CUDA graph ends at each convolution.
  XLA_FLAGS=--xla_gpu_enable_command_buffer=FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,CONDITIONAL \
    forms graphs_default 120 "$pair" &
  XLA_FLAGS=--xla_gpu_enable_command_buffer=+CONVOLUTION forms graphs_convolution 120 "$pair" &

  local smoke=("$PYTHON" -m resjax.main --config experiments/cifar_depth_sweep.py --only "kind=residual depth=20 seed=0"
    --config.data.name=npz --config.data.path="$WORK/random.npz" --config.train.steps=$steps
    --config.checkpoint.every=$((steps / 2)) --config.execution.log_every=5 --config.evaluation.every=$((steps / 2))
    --config.responses.steps=0 --config.gradients.steps=0 "${small[@]}")
  step smoke 120 "${smoke[@]}" --workdir "$WORK/smoke"
  tail -n 4 "$OUT/smoke.log"
  # The same from the checkpoint half-way: the parameters must come out the same to the bit.
  cp -r "$WORK/smoke" "$WORK/resumed"
  "$PYTHON" -c '
import json, pathlib, shutil, sys
run = next(pathlib.Path(sys.argv[1]).glob("*/*/run.json")).parent
shutil.rmtree(run / "checkpoints" / sys.argv[2])
row = json.loads((run / "run.json").read_text())
(run / "run.json").write_text(json.dumps(row | {"status": "running"}))' "$WORK/resumed" $steps
  step resumed 100 "${smoke[@]}" --workdir "$WORK/resumed"
  echo "parameters at the end, uninterrupted and resumed:"
  cat "$WORK"/{smoke,resumed}/*/*/run.json | grep -o '"params_digest": "[0-9a-f]*"'
  wait

  sharing
}

# What is timed on an otherwise idle device, and whether two processes that share it do more than one: they are compiled
# at the same time, then the first is timed alone and the others together.
sharing() {
  local short=(--rounds=3 --seconds=0.5) quiet="20/bfloat16,20/float32,56/bfloat16,56/float32" pair="20/bfloat16" i
  local torch="20/bfloat16/side=torch.compile/form=reduce-overhead"
  if [ -n "$TOY" ]; then
    short=(--rounds=1 --seconds=0.1) pair="8/float32/batch=16" quiet="8/float32/batch=16"
    torch="8/float32/side=torch.compile/form=default/batch=16"
  fi
  [ -n "${RESJAX_COMMIT:-}" ] || install
  rm -f "$WORK/go"
  forms quiet 90 "$quiet" &
  local first=$!
  forms torch_quiet 90 "$torch" --threads=1 &
  local second=$!
  if command -v nvidia-cuda-mps-control >/dev/null; then
    mps_start
  fi
  for i in 1 2; do forms "pair_with_mps_$i" 100 "$pair" --start_after="$WORK/go" --lock="" --rounds=1 --seconds=4 & done
  wait $first $second
  touch "$WORK/go"
  wait
  [ -n "${CUDA_MPS_PIPE_DIRECTORY:-}" ] && mps_stop
  "$PYTHON" -m benchmarks.session_choice "$OUT" "$WORK/choice.env" ${TOY:+--toy} && cat "$WORK/choice.env"
  cp "$WORK/choice.env" "$OUT/"
}

mps_start() { # lets processes share the GPU at the same time instead of in slices; a process of this user, no setting
  export CUDA_MPS_PIPE_DIRECTORY="$WORK/mps" CUDA_MPS_LOG_DIRECTORY="$WORK/mps"
  mkdir -p "$WORK/mps"
  nvidia-cuda-mps-control -d
}

mps_stop() {
  echo quit | timeout 10 nvidia-cuda-mps-control
  unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
}

train() {
  local deadline=$((SECONDS + MINUTES * 60 - 25)) data="$CARRY" settings queue worker
  install
  cat "$WORK/choice.env"
  # shellcheck source=/dev/null
  PRECISION=float32 JOBS=2 MPS=0 FLAGS="" && source "$WORK/choice.env"
  [ -n "$FLAGS" ] && export XLA_FLAGS="$FLAGS"
  if [ ! -d "$CARRY/cifar-10-batches-bin" ]; then
    data="$WORK/cifar"
    step join 60 "$PYTHON" "$WORK/halves/carry_cifar10.py" join "$WORK/halves" "$data" || return 1
  fi
  [ "$MPS" = 1 ] && mps_start
  mkdir -p "$WORK/runs"
  for archive in "$CARRY"/continue/*.tgz; do [ -f "$archive" ] && tar -xzf "$archive" -C "$WORK/runs"; done
  settings=(--config.data.path="$data" --config.data.checksum=any --config.checkpoint.every=4000 --config.checkpoint.keep=1
    --config.model.precision="$PRECISION")
  if [ -n "$TOY" ]; then
    settings+=(--config.train.steps=20 --config.train.batch_size=16 --config.model.width=2 --config.execution.log_every=5
      --config.checkpoint.every=10 --config.evaluation.every=20 --config.evaluation.batch_size=2000
      --config.responses.steps=0 --config.gradients.steps=0)
  fi
  # Two of them share the device: the third and the fourth are done long before the last.
  queue=("kind=residual depth=20 seed=0" "kind=residual depth=56 seed=0" "kind=plain depth=20 seed=0"
    "kind=plain depth=56 seed=0" "kind=residual depth=110 seed=0" "kind=residual depth=32 seed=0"
    "kind=residual depth=44 seed=0" "kind=plain depth=32 seed=0" "kind=plain depth=44 seed=0"
    "kind=residual depth=20 seed=1" "kind=plain depth=20 seed=1")
  [ -n "${QUEUE:-}" ] && mapfile -t queue <<<"$QUEUE"
  echo 0 >"$WORK/next"
  for worker in $(seq "$JOBS"); do work_off & done
  wait
  [ "$MPS" = 1 ] && mps_stop
  "$PYTHON" -m benchmarks.session_archives "$WORK/runs" "$OUT"
  say "done"
}

work_off() { # runs what is next in the queue until nothing is left or the time is up
  local i name left
  while true; do
    i=$(flock "$WORK/next" sh -c "cat '$WORK/next'; echo \$((\$(cat '$WORK/next') + 1)) >'$WORK/next.new'; cp '$WORK/next.new' '$WORK/next'")
    left=$((deadline - SECONDS))
    [ "$i" -ge ${#queue[@]} ] && return
    if [ $left -lt 30 ]; then
      say "the time is up before ${queue[$i]}"
      continue
    fi
    name=$(tr ' =' '__' <<<"${queue[$i]}")
    step "train_$name" $left "$PYTHON" -m resjax.main --config experiments/cifar_depth_sweep.py --workdir "$WORK/runs/$name" \
      --only "${queue[$i]}" "${settings[@]}"
    grep "test loss" "$OUT/train_$name.log" | tail -n 1
  done
}

case ${1:-} in
  measure | sharing | train) "$1" ;;
  *) echo "usage: CARRY=FOLDER OUT=FOLDER $0 measure|sharing|train" && exit 2 ;;
esac
