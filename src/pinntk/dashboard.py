"""``python -m pinntk.dashboard runs``: a W&B workspace for the runs in a folder (`pinntk.report.dashboard`)."""

import sys

from pinntk.report.dashboard import main

if __name__ == "__main__":
    sys.exit(main())
