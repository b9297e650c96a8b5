#!/usr/bin/env bash
# adam against pinn_ntk, from runs/pinn_ntk; more words go to train.py: multirun_scripts/pinn_ntk.sh seed=1
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" train.py -m runs_dir=runs/pinn_ntk pde=reaction,wave method=adam "$@"
"$python" train.py -m runs_dir=runs/pinn_ntk pde=reaction method=adam method.weights.initial=1 "$@"
"$python" train.py -m runs_dir=runs/pinn_ntk pde=reaction,wave method=pinn_ntk method.balance=blocks,terms "$@"
"$python" multirun_scripts/pinn_ntk.py runs/pinn_ntk
