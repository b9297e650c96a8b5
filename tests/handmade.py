"""Run folders made by hand, for tests of what reads them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEFAULTS: dict[str, Any] = {
    "status": "completed",
    "reason": None,
    "pde": "burgers",
    "pde_parameters": {"nu": 0.003183098861837907},
    "method": "adam",
    "width": 50,
    "depth": 3,
    "budget": "laptop",
    "seed": 0,
    "settings_hash": "aaaaaaaaaaaa",
    "l2re": 0.5,
    "loss": 1e-3,
    "steps": 100,
    "seconds": 12.5,
}


def place(root: Path, record: Mapping[str, Any]) -> Path:
    """The folder of a run."""
    names = [str(record["pde"]), str(record["method"]), f"w{record['width']}", str(record["budget"])]
    return root.joinpath(*names, str(record["settings_hash"]), f"seed{record['seed']}")


def make_run(
    root: Path, config: Mapping[str, Any] | None = None, metrics: str | None = None, ended: bool = True, **record: Any
) -> Path:
    """A run folder; ``record`` is what differs from `DEFAULTS` in its result.json, which a run not ended has not.

    ``config`` is added to a small config.yaml.
    """
    content = {**DEFAULTS, **record}
    folder = place(root, content)
    folder.mkdir(parents=True)
    if ended:
        (folder / "result.json").write_text(json.dumps(content))
    settings = {
        "seed": content["seed"],
        "pde": {"_target_": "made.by.Hand", **content["pde_parameters"]},
        "method": {"steps": content["steps"]},
        "network": {"width": content["width"], "depth": content["depth"]},
        **(config or {}),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    if metrics is not None:
        (folder / "metrics.csv").write_text(metrics)
    return folder
