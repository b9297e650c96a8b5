"""``python -m pinntk.status runs``: what the runs in a folder are doing (`pinntk.report.status`)."""

import sys

from pinntk.report.status import main

if __name__ == "__main__":
    sys.exit(main())
