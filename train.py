"""Train one network, or with ``-m`` a sweep of them: ``python train.py pde=heat2d method=pcpinn``.

Any key of the configuration can be set on the command line; ``python train.py --help`` lists them. The results of a run
are in ``runs/<pde>/<method>/<width>/<budget>/<settings hash>/seed<k>/``; the same command again continues an
interrupted run and leaves a finished one as it is.
"""

import sys

from pinntk.launch.cli import main

if __name__ == "__main__":
    sys.exit(main())
