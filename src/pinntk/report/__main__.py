"""``python -m pinntk.report runs [--out report] [--readme README.md]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pinntk.common.errors import Arguments, refusing
from pinntk.report import write_report


def main(words: Sequence[str] | None = None) -> int:
    """Write a report and say where; the exit code: 0, or 2 for bad input."""
    parser = Arguments("python -m pinntk.report", "Tables, figures and one page from run folders.")
    parser.add_argument("runs", type=Path, help="the folder of the runs, for example runs")
    parser.add_argument("--out", type=Path, default=Path("report"), help="where to write (default: report)")
    parser.add_argument(
        "--readme", type=Path, help="a file: its table from <!-- table 2 --> to <!-- end of table 2 --> is made anew"
    )

    def body() -> int:
        options = parser.parse_args(words)
        print("\n".join(write_report(options.runs, options.out, options.readme)))
        return 0

    return refusing(body)


if __name__ == "__main__":
    sys.exit(main())
