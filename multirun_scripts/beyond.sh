#!/usr/bin/env bash
# The methods of docs/beyond.md from runs/beyond, and the report; more words go to train.py:
#   multirun_scripts/beyond.sh hydra/launcher=gpus 'seed=range(10)'
# Started again it goes on with what is not completed.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
code=0
"$python" train.py -m experiment=beyond runs_dir=runs/beyond "$@" || code=$?
# The published figures of the wave equation belong to two values of a; a pde= of the command line is all that is run.
[[ "$code" -gt 1 || " $* " == *" pde="* ]] ||
  "$python" train.py -m experiment=beyond runs_dir=runs/beyond pde=wave pde.a=5 "$@" || code=$?
[ "$code" -gt 1 ] || "$python" -m pinntk.report runs/beyond --out runs/beyond/report || code=$?
exit "$code"
