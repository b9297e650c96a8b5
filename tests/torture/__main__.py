"""All rounds of torture, and the table that they make.

    python tests/torture [--round kills] [--trials 100] [--seed 0] [--out docs/torture.md]

What was lost or wrong is listed line by line; the exit code is 1 where there is such a line.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests/, for what they share

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from rounds import main

    sys.exit(main(sys.argv[1:]))
