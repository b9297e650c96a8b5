#!/usr/bin/env bash
# Checks and times everything on one GPU in less than eight minutes: benchmarks/gpu.sh [--device cpu] [options of gpu.py].
#
# It needs Python 3.11 or newer (PYTHON=...; else .venv's, else python3's) with torch that sees the GPU, and this
# package; where that is not importable it is installed from this checkout, without its dependencies, which then have to
# be there: no package is fetched. For compiled steps a C++ compiler, which triton also wants. 16 cores are good: the
# runs on the processor that all is compared with go on beside those on the GPU.
# Into results/gpu: <device>.json, complete at any moment, and <device>.md. --device cpu takes the processor in the GPU's
# place. Exit code 0: all was done or skipped, the record says what came of it.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-}"
[ -n "$python" ] || { [ -x .venv/bin/python ] && python=.venv/bin/python || python=python3; }
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$python" -c "import pinntk.runs.run" 2>/dev/null ||
  "$python" -m pip install --quiet --no-deps --no-build-isolation --no-index -e . || exit 2
# Whatever hangs on a device is ended after LIMIT seconds: what was found until then has been written.
exec timeout --signal=INT --kill-after=10 "${LIMIT:-470}" "$python" benchmarks/gpu.py "$@"
