#!/usr/bin/env bash
# Any of these scripts as tasks of a running Ray cluster (`ray start --head`, then `ray start --address=...` elsewhere), one
# GPU each; the machines share this folder:
#   multirun_scripts/ray.sh table2 'seed=range(10)' budget=paper
# RAY_ADDRESS names another cluster than the one that this machine is a part of. Without GPUs:
# hydra.launcher.ray.remote.num_gpus=0. Needs pip install 'pinntk[ray]'.
set -euo pipefail
address="${RAY_ADDRESS:-auto}"
if [[ "$address" == local ]]; then
  echo "error: RAY_ADDRESS=local: would train on this machine; allowed: auto, host:port" >&2
  exit 2
fi
exec "$(dirname "$0")/on_cluster.sh" "${1:-}" hydra/launcher=ray "hydra.launcher.ray.init.address='$address'" -- "${@:2}"
