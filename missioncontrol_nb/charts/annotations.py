"""What a detail's chart marks on its x axis: releases, the moment of a rise, and data incidents, each with a label."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from missioncontrol_nb.charts.expected import HOUR_MS, Expected
from missioncontrol_nb.charts.labels import PlotWidth, Rows, Wanted, text_width
from missioncontrol_nb.charts.theme import RATE_HEIGHT, SHADES, moment_without_zone
from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.monitor import Detail, Line

TOP_ROWS = 3  # of labels below the top of the plot
LABEL_LENGTHS = (40, 28, 18, 12)  # characters of an incident's text on the chart, the most there is room for
LEAST_SHARE = 0.006  # of the axis, for the band of a shorter incident to be seen
STRIP, STRIP_STEP = 6.0, 8.0  # pixels of an incident's strip since release, and from one line's strips to the next's
MOST_STRIPS = 3  # lines that have strips
LABEL_COLUMNS = ("kind", "x", "label", "row", "right", "room", "least", "below")
Mark = tuple[float, Sequence[str]]  # a position on the axis, and its labels from the longest to the shortest


@dataclass(frozen=True)
class Axis:
    """The x axis of a detail's chart.

    start, end: epoch milliseconds, or hours since each line's release (by_age). narrow: whether the screen is a phone.
    """

    start: float
    end: float
    narrow: bool
    by_age: bool

    def share(self, x: float) -> float:
        """A position as a part of the plot's width."""
        return (x - self.start) / (self.end - self.start)


def releases_in(detail: Detail, lines: Sequence[Line], axis: Axis) -> list[tuple[str, datetime]]:
    """The shown versions that came out on the axis, newest first; none since release, where all came out at 0.

    Where lines are not versions: the newest version and the one before it, while the newest line is shown.
    """
    if axis.by_age:
        return []
    if detail.line == "version":
        versions = [(line.label, line.released) for line in lines]
    else:
        is_shown = any(line.rank == 0 for line in lines)
        versions = [(each.version, each.released) for each in (detail.newest, detail.previous) if each and is_shown]
    return [each for each in versions if axis.start < 1000 * each[1].timestamp() < axis.end]


def release_marks(detail: Detail, lines: Sequence[Line], axis: Axis) -> list[Mark]:
    """Marks of the releases on the axis; only the newest version's says when."""
    marks: list[Mark] = []
    for version, released in releases_in(detail, lines, axis):
        long = [f"{version} out, {moment_without_zone(released)}"] * (version == detail.newest.version)
        marks.append((1000 * released.timestamp(), [*long, f"{version} out", version]))
    return marks


def rise_marks(expected: Expected, lines: Sequence[Line], axis: Axis) -> list[Mark]:
    """When the newest version began to rise; none while its line is switched off."""
    newest = next((line for line in lines if line.rank == 0), None)
    if newest is None or expected.rise is None:
        return []
    word = "bad" if expected.is_bad else "looks bad"
    short = f"{expected.rise:%a %H:%M}"
    texts = [f"{word} since {moment_without_zone(expected.rise)}", f"{word} since {short}", f"{word} {short}", word]
    begins = 1000 * expected.rise.timestamp()
    mark = (begins / HOUR_MS - newest.released.timestamp() / 3600 if axis.by_age else begins, texts)
    return [mark] if axis.start < mark[0] < axis.end else []


def shown_incidents(detail: Detail, lines: Sequence[Line], axis: Axis, incidents: Sequence[Incident]) -> list[Incident]:
    """Those of the incidents that concern the detail's data and lie on its x axis, in their order."""
    place = detail.product.name, detail.channel, detail.os_name, detail.row.measure
    spans = [(detail.since, detail.until)]
    if axis.by_age:
        length = timedelta(hours=axis.end)
        spans = [(line.released, min(line.released + length, detail.now)) for line in _with_strips(lines)]
    return [each for each in incidents if each.concerns(*place) and any(each.overlaps(*span) for span in spans)]


def _with_strips(lines: Sequence[Line]) -> list[Line]:
    """The newest lines that came out at different times: an incident has one strip for each of them."""
    return list({line.released: line for line in reversed(lines)}.values())[::-1][:MOST_STRIPS]


def label_of(incident: Incident, number: int) -> list[str]:
    """An incident's labels on the chart, from the longest to the shortest; number: its own in the list below."""
    text = plain(incident.text)
    shorter = [text if len(text) <= most else text[: most - 1].rstrip() + "…" for most in LABEL_LENGTHS]
    return [*(f"{number} {each}" for each in dict.fromkeys(shorter)), f"{number}"]


def plain(text: str) -> str:
    """A text in one line, without what would change the direction of the text around it, or is not to be seen."""
    return " ".join("".join(each if each.isprintable() or each.isspace() else " " for each in text).split())


def incident_data(
    incidents: Sequence[Incident], lines: Sequence[Line], axis: Axis, top: float
) -> tuple[pd.DataFrame, list[Mark]]:
    """(bands from x to x2 and y to y2, labels) of the incidents that are shown; top: of the y axis.

    On a time axis bands are as high as the plot, and those that overlap are one. Since release an incident hits each
    line at another age: there it is a strip at the bottom in that line's shade, without a label.
    """
    bands: list[tuple[float, ...]] = []
    labels: list[Mark] = []
    height = top / RATE_HEIGHT
    if axis.by_age:
        for number, line in enumerate(_with_strips(lines)):
            low = number * STRIP_STEP * height
            shade = float(min(line.rank, len(SHADES) - 1))
            spans = _joined([_by_age(each, line) for each in incidents], axis)
            bands += [(left, right, low, low + STRIP * height, shade) for left, right in spans]
    else:
        spans = [_by_time(each) for each in incidents]
        bands = [(left, right, 0.0, top, 0.0) for left, right in _joined(spans, axis)]
        numbered = enumerate(zip(incidents, spans, strict=True), 1)
        labels = [(max(span[0], axis.start), label_of(each, number)) for number, (each, span) in numbered]
    return pd.DataFrame(bands, columns=["x", "x2", "y", "y2", "shade"], dtype=float), labels


def _by_time(incident: Incident) -> tuple[float, float]:
    return 1000 * incident.since.timestamp(), 1000 * incident.until.timestamp()


def _by_age(incident: Incident, line: Line) -> tuple[float, float]:
    hour = timedelta(hours=1)
    return (incident.since - line.released) / hour, (incident.until - line.released) / hour


def _joined(spans: Sequence[tuple[float, float]], axis: Axis) -> list[tuple[float, float]]:
    """The parts of the axis that any of the spans covers, each at least LEAST_SHARE wide."""
    found: list[tuple[float, float]] = []
    for left, right in sorted(spans):
        left, right = max(left, axis.start), min(max(right, left + LEAST_SHARE * (axis.end - axis.start)), axis.end)
        if left >= right:
            continue
        if found and left <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], right)
        else:
            found.append((left, right))
    return found


def placed_labels(
    rise: Sequence[Mark], releases: Sequence[Mark], incidents: Sequence[Mark], axis: Axis, width: PlotWidth
) -> pd.DataFrame:
    """The labels of all marks in plots of a width, as far as there is room for them; columns LABEL_COLUMNS.

    kind: "rise", "release" or "incident". row: from the top, for incidents from the bottom. right: whether the label
    stands left of its rule and ends at it. room: the width that was kept free for it, in pixels. least, below: the
    plots that it is for.
    """
    rules = [axis.share(x) for x, _ in (*rise, *releases)]
    top, bottom = Rows(width.least, rules, TOP_ROWS), Rows(width.least, rules, 1)
    found: list[tuple[object, ...]] = []
    for kind, marks, rows in (("rise", rise, top), ("release", releases, top), ("incident", incidents, bottom)):
        wanted = [Wanted(axis.share(x), texts) for x, texts in marks]
        places = rows.place(wanted, left_first=rows is top)  # what comes after a release or a rise is high
        for (x, _), place in zip(marks, places, strict=True):
            if place:
                room = text_width(place.text)
                found.append((kind, x, place.text, place.row, place.is_left, room, width.least, width.below))
    frame = pd.DataFrame(found, columns=[*LABEL_COLUMNS])
    return frame.astype({name: object if name in ("kind", "label") else float for name in LABEL_COLUMNS})
