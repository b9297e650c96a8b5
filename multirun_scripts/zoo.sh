#!/usr/bin/env bash
# The problems of docs/zoo.md from runs/zoo, every method once, and the report: multirun_scripts/zoo.sh hydra/launcher=gpus
# Started again it goes on with what is not completed. Words of its own go to train.py; with a pde= or method= among them only the experiment's sweep is run, on them.
# Jobs that are refused are counted in the report, too.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
words=("$@")
code=0
train() { # a refused or failed job stops nothing, a signal all
  [ "$code" -ge 128 ] || "$python" train.py -m runs_dir=runs/zoo "$@" "${words[@]}" || code=$?
}
sweep() { train experiment=zoo "$@"; }
sweep
if [[ " $* " != *" pde="* && " $* " != *" method="* ]]; then
  all=adam,adam_lbfgs,gdnd,ssbroyden,gauss_newton
  sweep pde=burgers pde.nu=1e-3
  sweep pde=convection pde.beta=100
  # Trained conditions: where no network holds them, and where the method is about their weights.
  sweep pde=poisson_nd pde.dim=5,10 network=default method=$all,pinn_ntk
  sweep pde=poisson_nd pde.dim=10 pde.kind=products network=default method=$all,pinn_ntk
  sweep pde=poisson2d_multiscale network=default network.width=40 method=$all,pinn_ntk
  sweep method=pinn_ntk network=default
  sweep pde=burgers pde.nu=1e-3 method=pinn_ntk network=default
  sweep pde=convection pde.beta=100 method=pinn_ntk network=default
  # A network of space, of inputs of its own, whose parameters follow the equation in time.
  train pde=kuramoto_sivashinsky,kdv,schroedinger,gray_scott method=evolve
  train pde=burgers pde.nu=1e-3 method=evolve
  train pde=convection pde.beta=100 method=evolve
  # The time in slabs, which for all of them have the same plan.
  slabs="method=ssbroyden method.slabs=4 method.adam.steps=125 method.ssbroyden.steps=2000"
  sweep pde=allen_cahn,kdv,kuramoto_sivashinsky,schroedinger,gray_scott $slabs
  sweep pde=burgers pde.nu=1e-3 $slabs
  sweep pde=convection pde.beta=100 $slabs
  # Where there is a discrete form: the preconditioned loss, differentiated through P^-1 on the whole grid in every step.
  sweep pde=allen_cahn,kdv,helmholtz2d,poisson2d_multiscale network=default method=pcpinn method.form=direct method.steps=5000
  sweep pde=allen_cahn,kdv,helmholtz2d,poisson2d_multiscale network=default method=pcpinn_gdnd method.form=direct
fi
[ "$code" -ge 128 ] || "$python" -m pinntk.report runs/zoo --out runs/zoo/report || code=$?
exit "$code"
