#!/usr/bin/env bash
# The same short runs on the CPU and on a GPU, and a table of both; more words go to both sweeps.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
words=(-m "pde=poisson1d,burgers,heat2d" "method=adam,adam_lbfgs,pinn_ntk,pcpinn,gdnd,ssbroyden,ntk_ng" budget=smoke compile=false "$@")
code=0
"$python" train.py "${words[@]}" threads=1 trainer.accelerator=cpu hydra/launcher=local runs_dir=runs/gpu_check/cpu || code=$?
[ "$code" -gt 1 ] ||
  "$python" train.py "${words[@]}" threads=1 trainer.accelerator=gpu hydra/launcher=gpus runs_dir=runs/gpu_check/gpu || code=$?
[ "$code" -gt 1 ] || "$python" multirun_scripts/gpu_table.py runs/gpu_check || code=$?
exit "$code"
