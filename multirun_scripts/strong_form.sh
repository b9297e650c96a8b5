#!/usr/bin/env bash
# The strong form, every row, from runs/strong_form: with hard conditions on three seeds, with soft ones on one;
# multirun_scripts/strong_form.sh hydra/launcher=gpus
# Started again it goes on with what is not completed. Words of its own go to train.py.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
code=0
seeds='range(3)'
run() { "$python" train.py -m seed="$seeds" runs_dir=runs/strong_form evaluate_every=2000 threads=1 "$@" || code=$?; }
run pde=convection,wave,reaction,burgers,poisson1d method=ssbroyden "$@"
run pde=wave pde.a=5 method=ssbroyden "$@"
run pde=heat2d method=evolve evaluate_every=1000000 "$@"
seeds=0
soft() { run method=ssbroyden network.hard=false "$@"; }
soft pde=convection method.weights.initial=100 method.weights.periodic=10 "$@"
for a in 4 5; do
  soft pde=wave pde.a=$a method.weights.initial=1000 method.weights.velocity=10 method.weights.boundary=1000 "$@"
done
soft pde=reaction method.weights.initial=100 method.weights.periodic=10 "$@"
soft pde=burgers method.weights.initial=10 method.weights.boundary=10 "$@"
soft pde=poisson1d method.weights.boundary=100 "$@"
"$python" multirun_scripts/strong_form_table.py runs/strong_form || code=$?
exit "$code"
