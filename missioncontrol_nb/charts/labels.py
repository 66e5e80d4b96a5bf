"""Places for a chart's labels: none crosses another, nor a vertical rule, however wide the screen is."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CHARACTER, WIDE_CHARACTER = 7.0, 13.0  # pixels of a character in the charts' font at 12 px, rounded up
GAP = 6.0  # pixels between a rule and its label
# Pixels of plots on a phone and on wider screens: labels are placed for each of these widths. What fits at one of them
# fits in all wider plots, because rules move apart while labels keep their widths.
NARROW_WIDTHS, WIDTHS = (180.0, 230.0, 300.0, 420.0), (420.0, 640.0, 840.0, 1080.0)


@dataclass(frozen=True)
class PlotWidth:
    """The plots that a place for a label is for: at least `least` and less than `below` pixels wide."""

    least: float
    below: float


def plot_widths(narrow: bool) -> list[PlotWidth]:
    """The widths that labels are placed for, on a phone or on a wider screen."""
    edges = NARROW_WIDTHS if narrow else WIDTHS
    return [PlotWidth(least, below) for least, below in zip(edges, (*edges[1:], 1e5), strict=True)]


def text_width(text: str) -> float:
    """The width of a label in pixels, at most."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return CHARACTER * (len(text) - wide) + WIDE_CHARACTER * wide


@dataclass(frozen=True)
class Wanted:
    """A label of a rule at x (0 to 1 of the plot's width): the longest of its texts that there is room for."""

    x: float
    texts: Sequence[str]


@dataclass(frozen=True)
class Place:
    """Where a label goes. is_left: whether it ends at its rule, instead of beginning there."""

    text: str
    row: int
    is_left: bool


class Rows:
    """Rows of labels in a plot. Labels are placed in the order in which they matter."""

    def __init__(self, width: float, rules: Iterable[float], rows: int) -> None:
        """width: of the plot in pixels. rules: what no label may cross, in parts of that width."""
        self._width = width
        self._rules = [self._width * x for x in rules]
        self._taken: list[list[tuple[float, float]]] = [[] for _ in range(rows)]

    def place(self, wanted: Sequence[Wanted], left_first: bool) -> list[Place | None]:
        """Places for labels, None for those without room. left_first: whether they rather end at their rules.

        Each has its shortest text before any has a longer one.
        """
        found = [self._put(each.x, each.texts[-1:], left_first) for each in wanted]
        for number, (each, place) in enumerate(zip(wanted, found, strict=True)):
            if place is not None:
                self._taken[place.row].remove(self._box(each.x, place.text, place.is_left))
                found[number] = self._put(each.x, each.texts, left_first)
        return found

    def _put(self, x: float, texts: Sequence[str], left_first: bool) -> Place | None:
        for text in texts:
            for row, taken in enumerate(self._taken):
                for is_left in (left_first, not left_first):
                    box = self._box(x, text, is_left)
                    if self._is_free(box, taken):
                        taken.append(box)
                        return Place(text, row, is_left)
        return None

    def _box(self, x: float, text: str, is_left: bool) -> tuple[float, float]:
        at, length = self._width * x, GAP + text_width(text)
        return (at - length, at) if is_left else (at, at + length)

    def _is_free(self, box: tuple[float, float], taken: Sequence[tuple[float, float]]) -> bool:
        left, right = box
        return (
            left >= 0
            and right <= self._width
            and not any(left < rule < right for rule in self._rules)
            and not any(left < other_right and other_left < right for other_left, other_right in taken)
        )
