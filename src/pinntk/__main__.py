"""``python -m pinntk``: the command line."""

import sys

from pinntk.launch.cli import main

if __name__ == "__main__":  # not in the processes that a launcher starts, which import this file, too
    sys.exit(main())
