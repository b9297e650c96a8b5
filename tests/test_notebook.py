"""A notebook: a problem in a cell is trained, drawn, swept, stopped and gone on with, in a kernel of Jupyter."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from test_cells import HELPERS, PROBLEM

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

WORDS = '"budget=smoke", "method.steps=150", "width=8", "threads=1", "compile=false"'
CELLS = {
    "helpers": f"import pinntk\n{HELPERS}",
    "problem": PROBLEM,
    "trained": f'run = pinntk.train({WORDS}, pde=Mine, method="adam")\nrun',
    "plot": "run.plot()",
    "swept": f'pinntk.sweep({WORDS}, pde=Mine, method="adam", seed=range(3))',
    "stopped": 'pinntk.train("method.steps=10000000", "compile=false", pde=Mine, method="adam", threads=1)',
    "after": "import sys\nstopped = sys.last_value.run\nprint(stopped, stopped.predict([[0.5]]).shape)",
    "edited": f'FREQUENCY = 4.0\npinntk.train({WORDS}, pde=Mine, method="adam")',
    "alive": "print(run.predict([[0.5]]).shape, torch.get_default_dtype())",
}
STOP = "adam:   0%"
"""What the bar shows when the training has begun."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Jupyter's own
def test_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tmp_path / "jupyter" / "kernels" / "here"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "here", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in CELLS.values()]
    resources = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=250, kernel_name="here", resources=resources, allow_errors=True)

    async def stop(cell: Any) -> None:
        while STOP not in "".join(one.get("text", "") for one in cell.outputs):
            await asyncio.sleep(0.2)
        await client.km.interrupt_kernel()

    def started(cell: Any, cell_index: int) -> None:
        if cell_index == list(CELLS).index("stopped"):
            client.stopping = asyncio.ensure_future(stop(cell))

    client.on_cell_execute = started
    client.execute()
    found = {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}

    def said(name: str) -> str:
        return "".join(one.get("text", "") for one in found[name])

    def data(name: str, kind: str) -> str:
        return str(next(one.data[kind] for one in found[name] if kind in one.get("data", {})))

    def raised(name: str) -> tuple[str, str]:
        return next(((one.ename, one.evalue) for one in found[name] if one.output_type == "error"), ("", ""))

    assert [name for name in CELLS if raised(name)[0]] == ["stopped", "edited"]
    assert "150/150" in said("trained")  # the bar
    assert "data:image/png;base64," in data("trained", "text/html")
    assert imread(io.BytesIO(base64.b64decode(data("plot", "image/png")))).shape[1] > 500
    assert data("swept", "text/html").count("completed") == 3
    assert "finished before" in said("swept")  # seed 0 is the run above
    assert raised("stopped")[0] == "Interrupted"
    assert "the same call goes on" in raised("stopped")[1]
    assert "interrupted" in said("after")
    assert raised("edited")[0] == "BadInput"
    assert "__main__.FREQUENCY (edited)" in raised("edited")[1]
    assert said("alive") == "(1,) torch.float32\n"
