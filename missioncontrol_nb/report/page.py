"""The page of a report: the outputs of its executed notebook in one HTML file that asks nothing of any host."""

import base64
import html
from collections.abc import Iterator, Mapping
from typing import Any

from missioncontrol_nb.dashboard.html.html import tag
from missioncontrol_nb.report.sections import style, style_tag

HIDDEN, ALARMS_TAG = "not-in-report", "alarms"
# Nothing is fetched and no script runs, whatever a cell shows.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_PICTURES = {"image/png": "png", "image/jpeg": "jpeg"}


def page_of(notebook: Mapping[str, Any], title: str) -> str:
    """The page of an executed notebook: its prose and outputs, without code.

    Of each output the richest form is taken that needs no script: HTML, SVG, PNG, JPEG, Markdown, text.
    """
    parts = [part for cell in notebook["cells"] if not _is_hidden(cell) for part in _parts(cell)]
    return document(title, "".join(parts))


def document(title: str, body: str) -> str:
    """A whole page with the style of reports. body: HTML."""
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        tag("title", html.escape(title)),
        f"<style>{style()}</style>",
    ]
    shown = tag("body", tag("main", body), css="mc mc-report-page")
    return f'<!DOCTYPE html>\n<html lang="en"><head>{"".join(head)}</head>{shown}</html>\n'


def alarms_of(notebook: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record that the cell with the tag `alarms` shows; None where no cell does."""
    for cell in notebook["cells"]:
        if ALARMS_TAG in cell["metadata"].get("tags", ()):
            for output in cell.get("outputs", ()):
                found = output.get("data", {}).get("application/json")
                if found is not None:
                    return dict(found)
    return None


def _is_hidden(cell: Mapping[str, Any]) -> bool:
    return HIDDEN in cell["metadata"].get("tags", ())


def _parts(cell: Mapping[str, Any]) -> Iterator[str]:
    if cell["cell_type"] == "markdown":
        yield _prose(_text(cell["source"]))
    for output in cell.get("outputs", ()):
        yield from _output(output)


def _output(output: Mapping[str, Any]) -> Iterator[str]:
    if output["output_type"] == "stream" and output["name"] == "stdout":
        yield tag("pre", html.escape(_text(output["text"])))
    data = output.get("data", {})
    if "text/html" in data:
        yield _text(data["text/html"]).replace(style_tag(), "")
    elif "image/svg+xml" in data:
        yield _text(data["image/svg+xml"])
    elif any(kind in data for kind in _PICTURES):
        kind = next(kind for kind in _PICTURES if kind in data)
        content = base64.b64encode(base64.b64decode(_text(data[kind]))).decode()
        name = html.escape(_text(data.get("text/plain", "A picture")))
        yield f'<p><img src="data:{kind};base64,{content}" alt="{name}"></p>'
    elif "text/markdown" in data:
        yield _prose(_text(data["text/markdown"]))
    elif "text/plain" in data and output["output_type"] in ("execute_result", "display_data"):
        yield tag("pre", html.escape(_text(data["text/plain"])))


def _prose(markdown: str) -> str:
    import mistune

    made = str(mistune.create_markdown(escape=True, plugins=["table"])(markdown))
    return tag("div", made.replace("<h2>", '<h2 class="mc-report-title">'), css="mc-prose")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "".join(value)
