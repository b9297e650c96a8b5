#!/usr/bin/env bash
# What table2.sh and beyond.sh share: an experiment's sweep into runs/<experiment>, and its report; more words go to train.py.
# Started again it goes on with what is not completed.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
name="$1"
shift
code=0
"$python" train.py -m experiment="$name" runs_dir="runs/$name" "$@" || code=$?
# The published figures of the wave equation belong to two values of a; a pde= of the command line is all that is run.
[[ "$code" -gt 1 || " $* " == *" pde="* ]] ||
  "$python" train.py -m experiment="$name" runs_dir="runs/$name" pde=wave pde.a=5 "$@" || code=$?
[ "$code" -gt 1 ] || "$python" -m pinntk.report "runs/$name" --out "runs/$name/report" || code=$?
exit "$code"
