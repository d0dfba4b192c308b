#!/bin/sh
# What do nets show that others trained to the end? The four CIFAR-10 nets of pytorch_resnet_cifar10 (option A, 20, 32,
# 44 and 56 layers), tested and studied by the commands of this repository.
#
#     make published-nets WEIGHTS=FOLDER DATA=FOLDER
#     experiments/published_nets.sh WEIGHTS DATA WORKDIR
#
# WEIGHTS holds akamaster-resnet20.th, -32, -44 and -56; DATA is CIFAR-10, WORKDIR/published-nets gets the run
# directories and the page. It goes on where it was stopped. Reading .th files needs the extra torch.
set -eu
weights=$1 data=$2 nets=$3/published-nets
python=${PYTHON:-python}

for depth in 20 32 44 56; do
  out=$nets/residual-A-d$depth
  [ -e "$out/run.json" ] ||
    "$python" -m resjax.convert --from akamaster "$weights/akamaster-resnet$depth.th" --out "$out" --data "$data"
done

study() {
  "$python" -m resjax.study "$@" --workdir "$nets" --data "$data"
}
for mode in running batch; do
  study responses --images 10000 --batch_size 500 --mode $mode
done
study identity --only depth=20 --depth 56 --train false --images 10000
study gradients
study lesion
study landscape --images 512
study layers --every 10
study layers --every 10 --only depth=20 --other "$nets/residual-A-d56"
"$python" -m resjax.report "$nets"
