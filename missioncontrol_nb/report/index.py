"""The page that lists the reports of a folder or bucket."""

import json
from typing import Any

from missioncontrol_nb.dashboard.html.html import chip, tag, text
from missioncontrol_nb.dashboard.judged import WORDS
from missioncontrol_nb.formatting import moment_with_year
from missioncontrol_nb.report.page import document
from missioncontrol_nb.report.shelves import ALARMS, PAGE, Shelf, moment_of

MOST_TOLD = 50  # of the newest, whose headlines are read
MOST_LISTED = 2000


def index_of(shelf: Shelf, names: list[str]) -> str:
    """The page that lists reports, newest first. names: as `Shelf.names` gives them."""
    rows = [_row(shelf, name, is_told=number < MOST_TOLD) for number, name in enumerate(names[::-1][:MOST_LISTED])]
    head = tag("h1", "Reports") + tag("p", tag("a", "The newest one", href="latest.html"), css="mc-quiet")
    hidden = len(names) - MOST_LISTED
    more = tag("p", text(f"{hidden} older ones are not listed."), css="mc-small") if hidden > 0 else ""
    header = "".join(tag("th", each, scope="col") for each in ("As of", "Verdict", "Headline"))
    caption = tag("caption", "Reports, newest first", css="mc-hidden")
    table = tag("table", caption, tag("thead", tag("tr", header)), tag("tbody", *rows), css="mc-report-table mc-index")
    body = tag("section", tag("header", head, css="mc-report-head"), table, more, css="mc mc-report")
    return document("Reports", body)


def _row(shelf: Shelf, name: str, *, is_told: bool) -> str:
    again = f", again ({name.partition('.')[2]})" if "." in name else ""
    when = moment_of(name)
    cells = [tag("td", tag("a", text(f"{moment_with_year(when)}{again}"), href=f"{name}/{PAGE}"))]
    headlines = _headlines(shelf, name) if is_told else []
    cells.append(tag("td", *(chip(each["state"], WORDS.get(each["state"], each["state"])) for each in headlines[:1])))
    cells.append(tag("td", "<br>".join(text(each["sentence"]) for each in headlines)))
    return tag("tr", *cells)


def _headlines(shelf: Shelf, name: str) -> list[dict[str, Any]]:
    """The headlines of a report, the worst first; empty where it has none that can be read."""
    try:
        found = json.loads(shelf.read(f"{name}/{ALARMS}") or b"{}").get("headlines", [])
        order = list(WORDS)
        return sorted(found, key=lambda each: order.index(each["state"]) if each["state"] in order else len(order))
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
