#!/usr/bin/env bash
# Condition numbers of all problems before and after preconditioning; more words go to train.py. Then the table:
# python multirun_scripts/conditioning_table.py runs
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" train.py -m pde=convection,wave,reaction,burgers method=adam budget=smoke callbacks=conditioning "$@"
# The exact factors of all levels of heat2d's own grid need more memory than most machines have.
"$python" train.py -m pde=heat2d method=adam budget=smoke callbacks=conditioning \
  'callbacks.conditioning.discretization={cells: 16, time_steps: 2000, space: order4}' "$@"
# Theorem 1 is followed along this one's training.
"$python" train.py -m pde=poisson1d method=adam callbacks=conditioning "$@"
