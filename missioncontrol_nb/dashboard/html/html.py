"""Building blocks of pages in HTML."""

import re
from collections.abc import Sequence
from html import escape


# ---------- HTML ----------
def tag(name: str, *children: str, css: str = "", **attributes: object) -> str:
    """One HTML element.

    Children must already be HTML. Attribute values are escaped, and `_` in attribute names becomes `-`. An attribute
    that is None or False is omitted; True is written without a value.
    """
    given = {"class": css or None, **{key.replace("_", "-"): value for key, value in attributes.items()}}
    written = "".join(
        f" {key}" if value is True else f' {key}="{escape(str(value))}"'
        for key, value in given.items()
        if value is not None and value is not False
    )
    return f"<{name}{written}>{''.join(children)}</{name}>"


def text(words: object) -> str:
    """A text, escaped for HTML."""
    return escape(str(words))


def with_whole_dates(words: str) -> str:
    """A text, escaped for HTML, whose lines do not break within dates such as 2024-05-31."""
    return re.sub(r"\d{4}-\d\d-\d\d", lambda date: tag("span", date[0], css="mc-nowrap"), text(words))


def link(href: str, *children: str, css: str = "", **attributes: object) -> str:
    """A link that keeps the visitor's kernel, because its address is only a URL query."""
    return tag("a", *children, css=css, href=href, **attributes)


def button(label: str, action: str, **attributes: object) -> str:
    """A button that the page's own script or the kernel handles by the name of its action."""
    css = "jupyter-widgets jupyter-button widget-button"
    return tag("button", text(label), css=css, type="button", data_mc_action=action, **attributes)


def chip(state: str, words: str, title: str | None = None) -> str:
    """A word with the icon and colour of a state: bad, looks-bad, early, fine, judging, none."""
    return tag("span", text(words), css=f"mc-verdict mc-{state}", title=title)


def key(css: str, name: str) -> str:
    """A version's name after a short stroke in the style of its line."""
    return tag("span", text(name), css=f"mc-key {css}")


def headline(state: str, sentence: str, line: str) -> str:
    """The single headline of a page; sentence and line are plain text."""
    said = tag("div", tag("h2", text(sentence)), role="status")
    return tag("div", said, tag("p", text(line)), css=f"mc-headline mc-{state}")


def message(title: str, sentence: str, *more: str, error: bool = False) -> str:
    """A message that replaces a drawing that has nothing to show, or failed."""
    css = "mc-state mc-error" if error else "mc-state mc-empty"
    return tag("div", tag("b", text(title)), tag("p", text(sentence)), *more, css=css)


def skeleton(widths: Sequence[int] = (60, 36, 100, 80)) -> str:
    """Grey bars as a placeholder for data that are being read; widths in percent."""
    return tag("div", *(tag("i", style=f"width:{width}%") for width in widths), css="mc-skeleton", aria_hidden="true")
