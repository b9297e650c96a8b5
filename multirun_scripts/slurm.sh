#!/usr/bin/env bash
# Any of these scripts as jobs of a Slurm array, one GPU each, from a machine that has sbatch and the folder of the jobs:
#   PARTITION=gpu multirun_scripts/slurm.sh table2 'seed=range(10)' budget=paper
# It waits for the jobs and prints the table; Ctrl-C cancels them. Needs pip install 'pinntk[slurm]'.
set -euo pipefail
exec "$(dirname "$0")/on_cluster.sh" "${1:-}" hydra/launcher=slurm \
  "hydra.launcher.cluster=slurm" ${PARTITION:+"+hydra.launcher.parameters.slurm_partition=$PARTITION"} -- "${@:2}"
