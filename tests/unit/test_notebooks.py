"""The notebooks: thin, stripped, and explore.ipynb runs without a warning."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
THICK = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Try, ast.For, ast.While, ast.With)
PATH = re.compile(r"(^|[\"'])(/|~|\.\.?/|[A-Za-z]:\\)")


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    """The code cells; one with parameters can only be the first."""
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def code_of(notebook: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in code_cells(notebook)]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_thin(notebook):
    trees = [ast.parse(cell) for cell in code_of(notebook)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    assert [type(node).__name__ for node in nodes if isinstance(node, THICK)] == []
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in texts if PATH.search(text)] == []
    imports = [tree for tree in trees if any(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)]
    parameters = sum("parameters" in cell["metadata"].get("tags", []) for cell in code_cells(notebook))
    assert imports == trees[parameters : parameters + 1]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_holds_no_outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.fixture(scope="module")
def explored(tmp_path_factory) -> list[nbformat.NotebookNode]:
    """The code cells of explore.ipynb, run in a folder with a simulated dataset named as the notebook says."""
    folder = tmp_path_factory.mktemp("explore")
    simulate = [Path(sys.executable).with_name("missioncontrol"), "simulate", "--history", "fleet", "--days", "14"]
    subprocess.run(simulate, cwd=folder, check=True, capture_output=True)
    [notebook] = [path for path in NOTEBOOKS if path.stem == "explore"]
    done = papermill.execute_notebook(
        notebook, folder / "done.ipynb", cwd=folder, kernel_name="python3", progress_bar=False
    )
    return [cell for cell in done.cells if cell.cell_type == "code" and cell.source]


def test_explore_runs_without_an_error_or_a_warning(explored):
    outputs = [output for cell in explored for output in cell.outputs]
    assert [output for output in outputs if output.output_type in ("error", "stream")] == []


def test_explore_shows_a_chart_figures_and_the_dashboard(explored):
    shown = [[*cell.outputs[-1].data] if cell.outputs else [] for cell in explored]
    widgets = ["application/vnd.jupyter.widget-view+json" in kinds for kinds in shown]
    assert widgets == [False, True, False, False, True]
    figures = explored[2].outputs[-1].data["text/html"]
    assert "rate_per_1k_hours" in figures
    assert "content_crashes" in figures
