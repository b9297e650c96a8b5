#!/usr/bin/env bash
# Theorem 2 from runs/theorem2; more words go to train.py: multirun_scripts/theorem2.sh 'seed=range(10)'
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" train.py -m experiment=theorem2 runs_dir=runs/theorem2 pde=poisson1d pde.a=1 "$@"
"$python" train.py -m experiment=theorem2 runs_dir=runs/theorem2 "$@"
"$python" multirun_scripts/theorem2.py runs/theorem2
