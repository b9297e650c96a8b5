#!/usr/bin/env bash
# Self-scaled Broyden on the preconditioned loss, differentiated through P^-1 over the whole grid, one seed of every row.
# Started again it goes on with what is not completed; words of its own go to train.py.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
code=0
run() {
  "$python" train.py method=pcpinn_ssbroyden method.form=direct threads=1 evaluate_every=500 runs_dir=runs/direct "$@" ||
    code=$?
}
run pde=poisson1d network.width=30 network.depth=2 method.ssbroyden.steps=8000 "$@"
run pde=convection discretization.time_steps=200 method.ssbroyden.steps=5000 "$@"
run pde=reaction discretization.time_steps=50 method.ssbroyden.steps=5000 "$@"
for a in 4 5; do
  run pde=wave pde.a=$a discretization.cells=32 discretization.time_steps=100 method.ssbroyden.steps=4000 "$@"
done
run pde=burgers discretization.cells=64 discretization.time_steps=100 method.ssbroyden.steps=4000 "$@"
run pde=heat2d discretization.cells=24 discretization.time_steps=1000 discretization.growth=0 method.refresh_every=50 \
  method.adam.steps=100 method.ssbroyden.steps=300 points.by_residual=0 "$@"
exit "$code"
