#!/usr/bin/env bash
# Table 2 from runs/table2, and the report; more words go to train.py:
#   multirun_scripts/table2.sh hydra/launcher=gpus 'seed=range(10)' budget=paper
# Started again it goes on with what is not completed.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
code=0
"$python" train.py -m experiment=table2 runs_dir=runs/table2 "$@" || code=$?
# The published figures of the wave equation belong to two values of a; a pde= of the command line is all that is run.
[[ "$code" -gt 1 || " $* " == *" pde="* ]] ||
  "$python" train.py -m experiment=table2 runs_dir=runs/table2 pde=wave pde.a=5 "$@" || code=$?
[ "$code" -gt 1 ] || "$python" -m pinntk.report runs/table2 --out runs/table2/report || code=$?
exit "$code"
