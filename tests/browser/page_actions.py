"""What a visitor does on a page, and reads from it."""

import re

from playwright.sync_api import Page

from streaming import contract

PLATFORMS = {"windows": "Windows_NT", "mac": "Darwin", "linux": "Linux", "android": "Android"}
LABELS = {measure.label: measure.name for measure in contract.MEASURES}


def dropdown(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).locator("visible=true").select_option(label=option)


def toggle(page: Page, label: str, option: str) -> None:
    buttons = page.locator(".widget-toggle-buttons:visible", has=page.get_by_text(label, exact=True))
    buttons.get_by_role("button", name=option, exact=True).click()


def turn_to(page: Page, search: str) -> None:
    """Another state by the page's own links, without a click: as the back button does."""
    page.evaluate(
        "search => { history.pushState(null, '', search); dispatchEvent(new PopStateEvent('popstate')); }", search
    )


def number(text: str) -> float:
    return float(re.sub(r"[\u202f\u00a0 ]", "", text).replace("−", "-"))


def download(page: Page, action: str) -> tuple[str, bytes]:
    with page.expect_download() as started:
        page.locator(f".mc-get:visible [data-mc-action='{action}']").click()
    return started.value.suggested_filename, started.value.path().read_bytes()


def table_texts(page: Page) -> dict[str, dict[str, str]]:
    """What a table shows by measure and version, counts or rates; the newest version's stand in the first cell."""
    newest, *_ = page.locator(".mc-table thead b").all_inner_texts()
    read = """() => [...document.querySelectorAll(".mc-table tbody tr")].map((row) => [
      row.querySelector("th").textContent, row.querySelector(".mc-num").textContent,
      [...row.querySelectorAll(".mc-old")].map((cell) => [cell.dataset.name, cell.textContent])])"""
    rows = [(label, [[newest, figure], *others]) for label, figure, others in page.evaluate(read)]
    return {LABELS[label]: {version: figure for version, figure in figures if figure != "–"} for label, figures in rows}
