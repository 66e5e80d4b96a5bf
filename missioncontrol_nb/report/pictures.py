"""Pictures of a report: charts as SVG that takes the page's colours, and the headline as PNG for a chat.

vl-convert draws them, in this process and without any network.
"""

import re
from html import escape
from typing import Any
from xml.etree import ElementTree

from missioncontrol_nb.charts.theme import light
from missioncontrol_nb.dashboard.html.html import tag

WIDE, NARROW = 1000, 340  # pixels of a chart on a screen or on paper, and on a phone
_LABELS_RIGHT = 64  # of these, for the labels at the lines' ends
_LABELS_LEFT = 40
_SVG = "http://www.w3.org/2000/svg"
_NUMBER = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")
_PLACES = ("d", "transform", "x", "y", "x1", "x2", "y1", "y2", "width", "height")
_FONT = "Liberation Sans, Arial, sans-serif"
CARD_WIDTH, CARD_MARGIN, LINE = 720, 24, 28
_CHARACTERS, _SMALL_CHARACTERS = 58, 92  # of a line of the headline card, and of its small print
_MOST_SMALL = 3  # lines of small print of each headline
_INKS = {"stale": "looks-bad", "bad": "bad", "looks-bad": "looks-bad", "fine": "fine", "early": "early"}


def chart_svg(spec: dict[str, Any], width: int, label: str, prefix: str) -> str:
    """A Vega-Lite chart of plots above each other as an element of a page.

    width: pixels. label: the text alternative. prefix: of its ids, different for each picture of a page.
    """
    import vl_convert

    plot = width - _LABELS_LEFT - _LABELS_RIGHT
    sized = spec | {"vconcat": [part | {"width": plot} for part in spec["vconcat"]]}
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(sized))
    _clean(root, prefix)
    drawn = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    drawn = drawn.replace(f' xmlns="{_SVG}"', "").replace(f' xmlns:ns0="{_SVG}"', "").replace("ns0:", "")
    box = f"0 0 {width} {root.get('height')}"
    return tag("svg", tag("title", escape(label)), drawn, css="mc-chart-svg", viewBox=box, role="img")


def _clean(element: ElementTree.Element, prefix: str) -> None:
    """Removes what cannot be seen, and decimals; a third of the size is left."""
    for child in list(element):
        if _is_invisible(child):
            element.remove(child)
            continue
        _clean(child, prefix)
        if child.tag == f"{{{_SVG}}}g" and not len(child):
            element.remove(child)
    for name, value in list(element.attrib.items()):
        if name.startswith("aria-") or name in ("role", "class", "pointer-events"):
            del element.attrib[name]
        elif name in _PLACES:
            element.set(name, _NUMBER.sub(_rounded, value))
        elif name == "id":
            element.set(name, f"{prefix}-{value}")
        elif name == "clip-path":
            element.set(name, value.replace("url(#", f"url(#{prefix}-"))


def _is_invisible(element: ElementTree.Element) -> bool:
    if element.get("opacity") == "0" or element.get("display") == "none":
        return True
    is_ground = element.tag == f"{{{_SVG}}}path" and element.get("class") in ("background", "foreground")
    return is_ground and not (element.get("fill") or element.get("stroke"))


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.1f}".removesuffix(".0")


# ---------- the headline card ----------
def headline_svg(title: str, headlines: list[tuple[str, str, str]]) -> str:
    """A card with the headlines of a report. headlines: state, sentence and text of each channel."""
    drawn, y = [_line(title, CARD_MARGIN, 36, 15, light("text-2"))], 60
    for state, sentence, words in headlines:
        ink = light(_INKS.get(state, "text-3"))
        top = y
        lines = _wrapped(sentence, _CHARACTERS)
        for line in lines:
            y += LINE
            drawn.append(_line(line, CARD_MARGIN + 20, y, 21, ink, bold=True))
        small = _wrapped(words, _SMALL_CHARACTERS)
        if len(small) > _MOST_SMALL:
            small = [*small[: _MOST_SMALL - 1], f"{small[_MOST_SMALL - 1][: _SMALL_CHARACTERS - 2]} …"]
        for line in small:
            y += 22
            drawn.append(_line(line, CARD_MARGIN + 20, y, 14, light("text-2")))
        bar = f'<rect x="{CARD_MARGIN}" y="{top + 6}" width="5" height="{y - top + 2}" fill="{ink}"/>'
        drawn.append(bar)
        y += 24
    height = y + 8
    ground = f'<rect width="{CARD_WIDTH}" height="{height}" fill="{light("surface")}"/>'
    size = f'width="{CARD_WIDTH}" height="{height}"'
    return f'<svg xmlns="{_SVG}" {size}>{ground}{"".join(drawn)}</svg>'


def headline_png(title: str, headlines: list[tuple[str, str, str]]) -> bytes:
    """The same as PNG, twice as large for screens of twice the pixels."""
    import vl_convert

    return bytes(vl_convert.svg_to_png(headline_svg(title, headlines), scale=2))


def _line(words: str, x: int, y: int, size: int, ink: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x}" y="{y}" font-family="{_FONT}" font-size="{size}" fill="{ink}"'
    return f"<text {place}{weight}>{escape(words)}</text>"


def _wrapped(words: str, most: int) -> list[str]:
    lines = [""]
    for word in words.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines if lines != [""] else []
