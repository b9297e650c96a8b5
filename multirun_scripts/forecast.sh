#!/usr/bin/env bash
# The table of forecasts from runs/forecast; more words go to train.py: multirun_scripts/forecast.sh seed=1
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" train.py -m experiment=forecast runs_dir=runs/forecast method.steps=0 "$@"
"$python" train.py -m experiment=forecast runs_dir=runs/forecast method=adam,pinn_ntk "$@"
"$python" multirun_scripts/forecast_table.py runs/forecast
