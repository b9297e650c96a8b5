"""The condition numbers of all runs in a folder as a Markdown table.

python multirun_scripts/conditioning_table.py runs
"""

from __future__ import annotations

import json
from typing import Any

from run_folders import completed


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
    _, runs = completed("runs", "conditioning.json", "conditioning.sh")
    print("| problem | factors of | drop tolerance | ‖A⁻¹P‖‖P⁻¹b‖/‖u‖ | κ(P⁻¹A) | error of P⁻¹b | defect |")
    print("|---|---|---|---|---|---|---|")
    for run in runs:
        record = json.loads((run.folder / "conditioning.json").read_text())
        if "plain" in record:
            print("\n".join(rows(record)))


if __name__ == "__main__":
    main()
