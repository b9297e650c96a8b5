"""The record of ``gpu.py`` in Markdown."""

from __future__ import annotations

from typing import Any

from pinntk.common.memory import in_words


def table(record: dict[str, Any]) -> str:
    """One page: lease, agreement, whole runs, steps, and what was skipped or failed."""
    about, parts = record["about"], record["parts"]
    cuda = f" (CUDA {about['cuda']})" if about["cuda"] else ""
    lines = [f"# {about['device']}", "", "    benchmarks/gpu.sh", ""]
    lines += [f"torch {about['torch']}{cuda}, beside {about['processor']}, {about['cores']} cores.", ""]
    for cell in parts.get("lease", {}).values():
        if cell["status"] == "done":
            lines += [
                f"Two sweeps at a time on one device: {cell['seconds_between']:.2f} s between their trainings.",
                "",
            ]
    lines += _agreement(parts.get("agreement", {}), about)
    lines += _whole(parts.get("whole", {}))
    lines += _steps(parts.get("steps", {}))
    for status in ("failed", "refused"):
        found = [
            f"- {part}, {name}: {cell['reason']}"
            for part, cells in parts.items()
            for name, cell in cells.items()
            if cell["status"] == status
        ]
        lines += [f"{status.capitalize()}:", "", *found, ""] if found else []
    lines += ["Skipped:", "", *(f"- {line}" for line in record["skipped"]), ""] if record["skipped"] else []
    return "\n".join(lines)


def _agreement(cells: dict[str, Any], about: dict[str, Any]) -> list[str]:
    done = {name: cell for name, cell in cells.items() if cell["status"] in ("agrees", "differs")}
    if not done:
        return []
    lines = [
        f"Allowed: {about['factor']:g} times what changing the start by {about['perturbation']:g} came to on the",
        "processor, at least 1e-12; where that is more than 10 % rounding decides the path, and losses have to agree",
        "to a factor of ten. Relative differences, double precision.",
        "",
        "| problem | method | steps | loss, processor | loss, device | difference (allowed) | of parameters (allowed) |"
        " seconds, processor | device | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, c in sorted(done.items()):
        pde, method = name.split()
        loss = f"{c['loss_cpu']:.6e} | {c['loss']:.6e} | {c['loss_difference']:.1e} ({c['loss_allowed']:.1e})"
        of_parameters = f"{c['parameters_difference']:.1e} ({c['parameters_allowed']:.1e})"
        how = c["status"] + (", rounding decides" if c["decided_by_rounding"] else "")
        seconds = f"{c['seconds_cpu']:.1f} | {c['seconds']:.1f}"
        lines.append(f"| {pde} | {method} | {c['steps']} | {loss} | {of_parameters} | {seconds} | {how} |")
    return [*lines, ""]


def _whole(cells: dict[str, Any]) -> list[str]:
    done = {name: cell for name, cell in cells.items() if cell["status"] == "done"}
    lines = [f"| {name} | {c['loss']:.3e} | {c['seconds']:.1f} | {c['cell_seconds']:.1f} |" for name, c in done.items()]
    heads = ["| whole run | loss | seconds of training | in all |", "|---|---|---|---|"]
    return [*heads, *lines, ""] if lines else []


def _steps(cells: dict[str, Any]) -> list[str]:
    done = [cell for cell in cells.values() if cell["status"] == "done"]
    kinds = list(dict.fromkeys(cell["kind"] for cell in done))
    rows: dict[tuple[int, int, str], dict[str, Any]] = {}
    for cell in done:
        rows.setdefault((cell["points"], cell["width"], cell["precision"]), {})[cell["kind"]] = cell
    if not rows:
        return []
    heads = "".join(f" {kind}, ms (peak) |" for kind in kinds)
    lines = [f"| points | width | precision |{heads}", "|---|---|---|" + "---|" * len(kinds)]
    for (points, width, precision), found in sorted(rows.items()):
        row = "".join(
            f" {1e3 * found[k]['seconds_per_step']:.2f} ({in_words(found[k]['peak_bytes'])}) |" if k in found else " |"
            for k in kinds
        )
        lines.append(f"| {points:,} | {width} | {precision} |{row}")
    return [*lines, ""]
