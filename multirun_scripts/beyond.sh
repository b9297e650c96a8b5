#!/usr/bin/env bash
# The methods of docs/beyond.md from runs/beyond, and the report: multirun_scripts/beyond.sh hydra/launcher=gpus 'seed=range(10)'
exec "$(dirname "$0")/sweep_and_report.sh" beyond "$@"
