#!/usr/bin/env bash
# The strong form with hard conditions, every row, three seeds, from runs/strong_form: multirun_scripts/strong_form.sh hydra/launcher=gpus
# Started again it goes on with what is not completed. Words of its own go to train.py.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
code=0
run() { "$python" train.py -m 'seed=range(3)' runs_dir=runs/strong_form evaluate_every=2000 threads=1 "$@" || code=$?; }
run pde=convection,wave,reaction,burgers,poisson1d method=ssbroyden "$@"
run pde=wave pde.a=5 method=ssbroyden "$@"
run pde=heat2d method=evolve evaluate_every=1000000 "$@"
"$python" multirun_scripts/strong_form_table.py runs/strong_form || code=$?
exit "$code"
