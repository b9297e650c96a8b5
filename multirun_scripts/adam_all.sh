#!/usr/bin/env bash
# Adam on all problems, one after another; more words go to train.py: multirun_scripts/adam_all.sh budget=smoke 'seed=range(3)'
set -euo pipefail
cd "$(dirname "$0")/.."
"${PYTHON:-.venv/bin/python}" train.py -m pde=poisson1d,convection,wave,reaction,burgers,heat2d method=adam "$@"
