#!/usr/bin/env bash
# Figure 1b from runs/fig1b; more words go to train.py: multirun_scripts/fig1b.sh 'seed=range(3)'
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" train.py -m experiment=fig1b runs_dir=runs/fig1b "$@"
# Theorem 3, where the whole matrix can be looked at: two problems of degree 2, and a linear one.
"$python" train.py -m experiment=fig1b runs_dir=runs/fig1b pde=convection,reaction,burgers \
  width=w100 network.width=25,50,100,200 "$@"
"$python" multirun_scripts/fig1b.py runs/fig1b
