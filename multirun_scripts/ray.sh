#!/usr/bin/env bash
# Any of these scripts as tasks of a running Ray cluster (`ray start --head`, then `ray start --address=...` elsewhere), one
# GPU each; the machines share this folder:
#   multirun_scripts/ray.sh table2 'seed=range(10)' budget=paper
# Without GPUs: hydra.launcher.ray.remote.num_gpus=0. Needs pip install 'pinntk[ray]'.
set -euo pipefail
script="$1"
shift
exec "$(dirname "$0")/$script.sh" hydra/launcher=ray hydra.launcher.ray.init.address="${RAY_ADDRESS:-auto}" "$@"
