"""scripts/tour.ipynb runs, in a kernel, which has a running event loop."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests import PROJECT


def test_every_cell_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(PROJECT / "scripts" / "tour.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # the repository keeps no outputs
    client = NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs[-1].output_type for cell in code] == ["execute_result"] * len(code)
    assert "image/png" in code[2].outputs[-1]["data"] or "image/png" in code[2].outputs[0]["data"]
    assert [output.text for cell in code for output in cell.outputs if output.output_type == "stream"] == []
