#!/usr/bin/env bash
# Figure 1a from runs/fig1a; more words go to train.py: multirun_scripts/fig1a.sh 'seed=range(10)' width=w100,w500
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" train.py -m experiment=fig1a runs_dir=runs/fig1a "$@"
"$python" multirun_scripts/fig1a.py runs/fig1a
