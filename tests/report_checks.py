"""What must hold of a folder of reports at any moment: each report is whole, and so is the newest one's copy."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from missioncontrol_nb.report.shelves import ALARMS, NOTEBOOK, PAGE, PICTURE, Shelf

FILES = (PAGE, NOTEBOOK, PICTURE, ALARMS)
AS_OF = {"dataset": "/data", "product": "Firefox", "channels": ["release"]}


def files_of(as_of: str, said: str = "fine", made_at: str = "now", size: int = 1000) -> dict[str, bytes]:
    """The files of a report, as small as may be; the same `said` is the same report."""
    page = f"<html>{as_of} {said} {'x' * size}</html>".encode()
    run = {"made_at": made_at}
    headlines = [{"channel": "release", "state": "fine", "sentence": f"Fine: {said}", "text": ""}]
    record = AS_OF | {"as_of": as_of, "open": [], "headlines": headlines, "state": "fine", "said": said, "run": run}
    record["page_sha256"] = hashlib.sha256(page).hexdigest()
    notebook = json.dumps({"cells": [], "said": said, "size": "y" * size}).encode()
    return {PAGE: page, NOTEBOOK: notebook, PICTURE: b"\x89PNG" + b"z" * size, ALARMS: json.dumps(record).encode()}


def faults(shelf: Shelf, is_notebook: Callable[[Mapping[str, Any]], bool] = lambda notebook: True) -> list[str]:
    """What is not whole, in words; empty where all is. is_notebook: what must hold of each report's notebook."""
    found, pages, records = [], set(), set()
    for name in shelf.names():
        files = {each: shelf.read(f"{name}/{each}") for each in FILES}
        missing = [each for each, content in files.items() if not content]
        if missing:
            found.append(f"{name} lacks {', '.join(missing)}")
            continue
        page, alarms, picture = (files[each] or b"" for each in (PAGE, ALARMS, PICTURE))
        if json.loads(alarms)["page_sha256"] != hashlib.sha256(page).hexdigest():
            found.append(f"{name} has another page than its alarms.json")
        if not picture.startswith(b"\x89PNG") or not is_notebook(json.loads(files[NOTEBOOK] or b"")):
            found.append(f"{name} has a damaged picture or notebook")
        pages.add(page)
        records.add(alarms)
    for name, whole in (("latest.html", pages), ("latest.json", records)):
        latest = shelf.read(name)
        if latest is not None and latest not in whole:
            found.append(f"{name} is that of no report")
    index = shelf.read("index.html")
    if index is not None and not index.endswith(b"</html>\n"):
        found.append("index.html is not whole")
    return found
