#!/usr/bin/env bash
# The three forms of the preconditioned loss on all problems, three seeds, into runs/pcpinn, and their table. More words go to
# every sweep, hydra/launcher=local threads=1 for example. Started again it goes on with what is not completed.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
folder=runs/pcpinn
code=0
sweep() {
  [ "$code" -gt 1 ] ||
    "$python" train.py -m method=pcpinn 'seed=range(3)' runs_dir="$folder" "$@" "${words[@]}" || code=$?
}
words=("$@")
sweep pde=heat2d method.form=applied,solved
sweep pde=convection,wave,poisson1d method.form=direct,applied,solved
sweep pde=burgers,reaction method.form=applied,solved
sweep experiment=wave_a5
# The direct form goes over the whole grid at every step: coarser ones here, and of the reactions what grows is left out of P,
# whose linearisation about an untrained network would grow without bound.
sweep pde=reaction method.form=direct discretization.growth=0.0 method.refresh_every=100
sweep pde=burgers method.form=direct discretization.cells=64 discretization.time_steps=100 method.refresh_every=200 method.steps=4000
sweep pde=heat2d method.form=direct discretization.cells=24 discretization.time_steps=1000 discretization.growth=0.0 \
  method.refresh_every=50 method.steps=400
[ "$code" -gt 1 ] || "$python" multirun_scripts/pcpinn_table.py "$folder" || code=$?
exit "$code"
