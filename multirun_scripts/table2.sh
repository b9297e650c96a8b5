#!/usr/bin/env bash
# Table 2 from runs/table2, and the report: multirun_scripts/table2.sh hydra/launcher=gpus 'seed=range(10)' budget=paper
exec "$(dirname "$0")/sweep_and_report.sh" table2 "$@"
