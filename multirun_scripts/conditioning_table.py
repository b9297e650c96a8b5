"""The condition numbers of all runs in a folder as a Markdown table.

python multirun_scripts/conditioning_table.py runs
"""

from __future__ import annotations

import json
import sys
from typing import Any

from run_folders import chosen


def number(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else f"{value:.3g}"


def rows(record: dict[str, Any]) -> list[str]:
    """A problem's rows: without preconditioner, then one per kind of factors and drop tolerance."""
    plain = record["plain"]
    name = f"{record['pde']} ({plain['unknowns']:,} unknowns)"
    table = [f"| {name} | none | | {number(plain['condition'])} | {number(plain['kappa'])} | | |"]
    for one in record["preconditioned"]:
        cells = [number(one[key]) for key in ("condition", "kappa", "error", "defect")]
        if one["reason"]:
            cells = ["not used", "", "", ""]
        table.append(f"| {record['pde']} | {one['factor']} | {one['drop_tolerance']:g} | {' | '.join(cells)} |")
    return table


def main() -> None:
    """Print the table."""
    found = sorted(chosen("runs").rglob("conditioning.json"))
    if not found:
        sys.exit("no conditioning.json there; multirun_scripts/conditioning.sh makes them")
    print("| problem | factors of | drop tolerance | ‖A⁻¹P‖‖P⁻¹b‖/‖u‖ | κ(P⁻¹A) | error of P⁻¹b | defect |")
    print("|---|---|---|---|---|---|---|")
    for path in found:
        record = json.loads(path.read_text())
        if "plain" in record:
            print("\n".join(rows(record)))


if __name__ == "__main__":
    main()
