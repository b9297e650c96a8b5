#!/usr/bin/env bash
# Table 2 from runs/table2, and the report: multirun_scripts/table2.sh hydra/launcher=gpus 'seed=range(10)' budget=paper
# On this machine's cores a forecast of the time comes first. Started again it goes on with what is not completed.
cd "$(dirname "$0")/.." || exit
jobs=1
[[ " $* " == *launcher=local* ]] && jobs=$(nproc)
case " $* " in
  *launcher=gpus* | *launcher=slurm* | *launcher=ray* | *budget=*) ;; # its times are of other machines, or other runs
  *) "${PYTHON:-.venv/bin/python}" multirun_scripts/table2_forecast.py --jobs "$jobs" || true ;;
esac
exec multirun_scripts/sweep_and_report.sh table2 "$@"
