#!/usr/bin/env bash
# What slurm.sh and ray.sh share: on_cluster.sh <script> <words of the launcher> -- <words for train.py>. Nothing is trained
# on this machine: every train.py of these scripts is a sweep (-m), which the launcher gets, and no word takes it from it.
set -euo pipefail
here="$(dirname "$0")"
script="$1"
shift
launcher=()
while [[ "$1" != -- ]]; do
  launcher+=("$1")
  shift
done
shift

scripts="$(cd "$here" && ls -- *.sh | sed 's/[.]sh$//' | grep -vxE 'slurm|ray|on_cluster|sweep_and_report' | paste -sd' ')"
if [[ -z "$script" || " $scripts " != *" $script "* ]]; then
  echo "error: ${script:-no script}: is none of these scripts; allowed: $scripts" >&2
  exit 2
fi
for word in "$@"; do
  if [[ "$word" =~ ^[~+]*hydra([/.]launcher([=@]|$)|[.]launcher[.](_target_|cluster|ray=|ray[.]init(=|[.]address)))|^[~+]*hydra= ]]; then
    echo "error: $word: might train on this machine; allowed: other words, or ${script}.sh alone with that one" >&2
    exit 2
  fi
done
exec "$here/$script.sh" "${launcher[@]}" "$@"
