"""The pages' HTML and words: escaped, well formed, and saying no more than was measured."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from missioncontrol_nb import formatting as number_words
from missioncontrol_nb.dashboard import messages, verdict_words
from missioncontrol_nb.dashboard.html import html, svg
from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.pages import components, layout
from missioncontrol_nb.dashboard.pages import detail as detail_page
from missioncontrol_nb.dashboard.pages import overview as overview_page
from missioncontrol_nb.dashboard.pages import table as table_page
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.dashboard.reader import DatasetReader
from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import Change, ChannelTable, Line, MeasureSummary, Overview, Version
from missioncontrol_nb.monitor.summaries import Received
from streaming import contract
from streaming.errors import MissionControlError
from tests.unit.small_dataset import CALENDAR, moment, write
from tests.unit.small_summaries import (
    DOWN,
    FROM_NOTHING,
    LEVEL,
    NEWEST,
    NO_CONTENT,
    NOW,
    PREVIOUS,
    UP,
    channel,
    detail,
    measured,
    overview,
    platform,
    table,
    without_pings,
)
from tests.unit.small_verdicts import judged, verdict

HOSTILE = "<b onclick='x'>\"&</b><script>"
VOID = {"br", "circle", "line", "path", "polyline", "rect"}


class Page(HTMLParser):
    """A page taken apart. elements: (tag, attributes); texts: what is read; raises where tags do not balance."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice: {names}"
        self.elements.append((tag, dict(attributes)))
        if tag != "br":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts)).strip()

    def classes(self, tag: str | None = None) -> list[str]:
        return [each.get("class") or "" for name, each in self.elements if tag in (None, name)]

    def attributes(self, name: str) -> list[str]:
        return [str(each[name]) for _, each in self.elements if name in each]


def plain(words: str) -> str:
    """With ordinary spaces."""
    return words.replace(number_words.FIXED_SPACE, " ").replace(number_words.NARROW_SPACE, " ")


# ---------- summaries in every state ----------
QUERY = Query()
TABLE_QUERY = Query(view="table")
DETAIL_QUERY = Query(view="detail", measure="main_crashes")
OVERVIEWS = {
    "up": overview(channel(platform("Windows_NT", UP, LEVEL), platform("Android", LEVEL, None))),
    "down": overview(channel(platform("Linux", DOWN, LEVEL))),
    "level": overview(channel(platform("Darwin", LEVEL, LEVEL))),
    "early": overview(channel(platform("Darwin", LEVEL, LEVEL, "too_little_usage"), without_pings("Linux"))),
    "from nothing": overview(channel(platform("Darwin", LEVEL, FROM_NOTHING))),
    "no previous": overview(channel(platform("Windows_NT", None, None), previous=None)),
    "no release": overview(channel(platform("Linux", UP, UP), name="beta")),
    "empty": Overview((), None, NOW),
}
TABLES = {
    "mixed": table({"main_crashes": UP, "content_crashes": LEVEL, "gpu_crashes": DOWN, "plugin_crashes": FROM_NOTHING}),
    "level": table({"main_crashes": LEVEL}),
    "no previous": table(dict.fromkeys(("main_crashes", "content_crashes")), previous=None),
}
DETAILS = {
    "up": detail(measured("main_crashes", UP)),
    "from nothing": detail(measured("main_crashes", FROM_NOTHING)),
    "level": detail(measured("main_crashes", LEVEL)),
    "early": detail(measured("main_crashes", LEVEL, "too_little_usage")),
    "not reported": detail(MeasureSummary("content_crashes", "not_reported", why=NO_CONTENT), names=()),
    "no previous": detail(measured("main_crashes", None), names=("56.0",), previous=None),
}
WINDOWS = ("Windows_NT", "main_crashes"), ("Windows_NT", "content_crashes")
OTHERS = ("Darwin", "main_crashes"), ("Darwin", "content_crashes"), ("Android", "main_crashes")
JUDGED = {
    "judging": Judged(),
    "failed": Judged(has_failed=True),
    "nothing": judged(),
    "bad": judged(verdict("bad", "Windows_NT", "main_crashes"), verdict("fine", *WINDOWS[1])),
    "looks bad": judged(verdict("fine", *WINDOWS[0]), verdict("looks bad", *WINDOWS[1])),
    "fine": judged(*(verdict("fine", *place) for place in (*WINDOWS, *OTHERS))),
    "early": judged(*(verdict("too early", *place) for place in (*WINDOWS, *OTHERS))),
}
PAGES: dict[str, Callable[[], str]] = {
    **{
        f"overview {name} {said}": lambda each=each, said=said: overview_page.overview(each, QUERY, JUDGED[said])
        for name, each in OVERVIEWS.items()
        for said in JUDGED
    },
    **{
        f"table {name} {show} {order} {said}": lambda each=each, show=show, order=order, said=said: table_page.table(
            each, replace(TABLE_QUERY, show=show, order=order), JUDGED[said]
        )
        for name, each in TABLES.items()
        for show in ("rate", "count")
        for order in ("worst", "name")
        for said in JUDGED
    },
    **{
        f"detail {name} {show} {said}": lambda each=each, show=show, said=said: detail_page.below_chart(
            each, replace(DETAIL_QUERY, show=show, behind=True), JUDGED[said]
        )
        for name, each in DETAILS.items()
        for show in ("rate", "count")
        for said in JUDGED
    },
    "detail empty": lambda: detail_page.no_windows(DETAILS["up"], DETAIL_QUERY),
    "loading overview": lambda: layout.loading("overview"),
    "loading table": lambda: layout.loading("table"),
    "top": lambda: layout.top(DETAIL_QUERY, NOW, 600),
    "top without data": lambda: layout.top(QUERY, None, 600),
    "failure": lambda: layout.failure("a", "b"),
    "no release": lambda: layout.no_release(TABLE_QUERY),
    "title": lambda: detail_page.chart_title(DETAIL_QUERY),
}
HEADLINES = {
    **{
        f"overview {name} {said}": lambda each=each, said=said: verdict_words.overview_headline(
            each, "release", JUDGED[said]
        )
        for name, each in OVERVIEWS.items()
        for said in JUDGED
    },
    **{
        f"table {name} {said}": lambda each=each, said=said: verdict_words.table_headline(each, JUDGED[said])
        for name, each in TABLES.items()
        for said in JUDGED
    },
    **{
        f"detail {name} {said}": lambda each=each, said=said: verdict_words.detail_headline(each, JUDGED[said])
        for name, each in DETAILS.items()
        for said in JUDGED
    },
}


@pytest.mark.parametrize("name", PAGES)
def test_tags_of_every_page_balance(name: str) -> None:
    assert Page(PAGES[name]()).elements


@pytest.mark.parametrize("name", [*PAGES, *HEADLINES])
def test_no_page_claims_more_than_it_counted(name: str) -> None:
    said = Page(PAGES[name]()).text if name in PAGES else " ".join(HEADLINES[name]())
    said = said.replace("every=None", "")  # Python to copy
    assert not re.search(r"\b(significan\w*|anomal\w*|p-value|p [<=]|nan|inf|None|null)\b", said), said
    assert not re.search(r"(?<![\w−-])-\d", said), f"a hyphen for a minus: {said}"


@pytest.mark.parametrize("name", PAGES)
def test_links_of_every_page_stay_in_the_dashboard(name: str) -> None:
    page = Page(PAGES[name]())
    assert all(address.startswith("?") or address == "#mc-main" for address in page.attributes("href"))


# ---------- strangers' text ----------
HOSTILE_CHANNEL = channel(platform("Windows_NT", UP, LEVEL), previous=Version(HOSTILE, PREVIOUS.released))
HOSTILE_CHANNEL = replace(HOSTILE_CHANNEL, newest=Version(HOSTILE, NEWEST.released))
ELSEWHERE = replace(TABLES["mixed"], newest=Version(HOSTILE, NOW), previous=Version(HOSTILE, NOW))
ESCAPED: dict[str, Callable[[], str]] = {
    "text": lambda: html.text(HOSTILE),
    "tag": lambda: html.tag("p", title=HOSTILE, data_mc_x=HOSTILE),
    "link": lambda: html.link(HOSTILE, "a"),
    "button": lambda: html.button(HOSTILE, HOSTILE, data_mc_text=HOSTILE),
    "chip": lambda: html.chip("bad", HOSTILE, HOSTILE),
    "key": lambda: html.key("mc-v0", HOSTILE),
    "headline": lambda: html.headline("bad", HOSTILE, HOSTILE),
    "message": lambda: html.message(HOSTILE, HOSTILE),
    "spark": lambda: svg.spark([1, 2], [1, 2], 1, 0, HOSTILE),
    "spark without a base": lambda: svg.spark([1, 2], [1, 2], 0, 0, HOSTILE),
    "failure": lambda: layout.failure(HOSTILE, HOSTILE),
    "code": lambda: components.get_this(TABLE_QUERY, HOSTILE, has_chart=True),
    "overview": lambda: overview_page.overview(overview(HOSTILE_CHANNEL), QUERY, Judged()),
    "overview without pings": lambda: overview_page.overview(
        overview(replace(HOSTILE_CHANNEL, platforms=(without_pings("Linux"),))), QUERY, Judged()
    ),
    "overview headline": lambda: html.headline(*verdict_words.channel_headline(HOSTILE_CHANNEL, Judged(), NOW)),
    "table": lambda: table_page.table(replace(ELSEWHERE, older=(Version(HOSTILE, NOW),)), TABLE_QUERY, Judged()),
    "table headline": lambda: html.headline(*verdict_words.table_headline(ELSEWHERE, Judged())),
    "figures": lambda: detail_page.figures(
        replace(DETAILS["up"], newest=Version(HOSTILE, NOW), previous=Version(HOSTILE, NOW)), Judged()
    ),
    "numbers": lambda: (
        components.evidence(
            JUDGED["bad"].standing(
                TABLES["mixed"], "Windows_NT", replace(TABLES["mixed"].rows[0], measure="main_crashes")
            ),
            replace(TABLES["mixed"], newest=NEWEST),
        )
        + HOSTILE.replace("<", "&lt;")
    ),
    "data incidents": lambda: detail_page.incidents(
        DETAILS["up"], DETAIL_QUERY, Judged(incidents=(Incident(NOW - timedelta(hours=3), NOW, HOSTILE, id=HOSTILE),))
    ),
    "behind": lambda: detail_page.behind(
        replace(DETAILS["up"], lines=(Line("56.0", HOSTILE, 0, NOW),)), replace(DETAIL_QUERY, behind=True)
    ),
}


@pytest.mark.parametrize("name", ESCAPED)
def test_text_never_becomes_markup(name: str) -> None:
    page = Page(ESCAPED[name]())
    allowed_bold = [attributes for tag, attributes in page.elements if tag == "b" and "onclick" in attributes]
    assert not allowed_bold
    assert "script" not in [tag for tag, _ in page.elements]
    values = [str(value) for _, attributes in page.elements for value in attributes.values()]
    assert any("onclick='x'" in said for said in [*page.texts, *values])


# ---------- figures in words ----------
@pytest.mark.parametrize(
    ("usage_hours", "said"),
    [(0.25, "0.2 h"), (12, "12 h"), (9999, "9 999 h"), (1_057_000, "1057 k h"), (11_200_000, "11.2 million h")],
)
def test_hours_are_said_briefly(usage_hours: float, said: str) -> None:
    assert plain(number_words.hours(usage_hours)) == said


@pytest.mark.parametrize(
    ("share", "said"), [(0, "0 %"), (0.001, "< 1 %"), (0.344, "34 %"), (0.999, "100 %"), (1, "100 %")]
)
def test_share_is_a_percentage(share: float, said: str) -> None:
    assert plain(number_words.percent(share)) == said


def test_moments_are_in_utc_with_their_weekday() -> None:
    assert number_words.moment(moment("2017-09-29T06:00")) == "Fri 29 Sep 06:00 UTC"
    assert number_words.duration(timedelta(days=4, hours=1, minutes=9)) == "4 d 1 h"
    assert number_words.duration(timedelta(hours=3, minutes=20)) == "3 h 20 min"
    assert number_words.age_in_words(timedelta(hours=25)) == "1 day"


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=3).map(sorted))
def test_rate_lies_within_the_interval_that_is_said(three: list[float]) -> None:
    lower, value, upper = three
    said, interval = number_words.rate_and_interval(value, lower, upper)
    low, high = interval.split(" to ")
    figures_said = [float(plain(text).replace(" ", "")) for text in (low, said, high)]
    assert figures_said == sorted(figures_said)


# ---------- sentences ----------
def test_failure_names_no_path_and_no_bug() -> None:
    assert messages.failure(MissionControlError("there is no dataset at /x"), 5) == (
        "The dataset could not be read",
        "The reason is in the server's log. It is tried again every 5 s.",
    )
    assert "boom" not in " ".join(messages.failure(ValueError("boom"), 5))


# ---------- the pages' figures ----------
def test_matrix_has_a_row_a_channel_and_a_cell_a_platform() -> None:
    summary = overview(channel(platform("Windows_NT", UP, LEVEL)), channel(platform("Linux", DOWN, LEVEL), name="beta"))
    page = Page(overview_page.matrix(summary, replace(QUERY, channel="beta"), JUDGED["bad"]))
    assert page.attributes("href") == [
        "?",
        "?view=table",
        "?channel=beta",
        "?view=table&channel=beta&platform=linux",
    ]
    assert page.text.count("No release") == 6
    assert [css for css in page.classes("tr") if css] == ["mc-on"]
    assert plain(page.text).count("Bad main 2.1 times") == 1


def test_pings_that_do_not_count_are_told_apart() -> None:
    summary = replace(overview(channel(platform("Darwin", LEVEL, LEVEL))), received=Received(9_000, 20, 980))
    page = overview_page.overview(summary, QUERY, Judged())
    assert "10\u202f000, of which 0.20 % were rejected and 9.80 % passed over." in page
    assert "passed over" not in overview_page.overview(replace(summary, received=None), QUERY, Judged())


def test_card_without_a_ping_says_when_it_fills() -> None:
    said = Page(PAGES["overview early early"]()).text
    assert "No ping from 56.0 on Linux has arrived." in said
    assert "this card fills by itself" in said


def test_measure_that_is_not_reported_shows_no_figure() -> None:
    said = Page(PAGES["overview up bad"]()).text
    assert "Not reported" in said
    assert "Firefox for Android runs no content processes." in said
    row = Page(table_page.table(TABLES["level"], replace(TABLE_QUERY, order="name"), JUDGED["fine"]))
    assert row.text.count("Not reported") == len(contract.MEASURE_NAMES) - 1 - len(SINCE_150)


# Firefox reports the crashes of these processes from version 150 on.
SINCE_150 = ("rdd_crashes", "socket_crashes", "utility_crashes", "vr_crashes", "forkserver_crashes")


def test_table_has_no_row_of_what_no_version_there_can_report() -> None:
    rows = tuple(MeasureSummary(name, "not_reported", why="x") for name in ("main_crashes", "gpu_crashes", *SINCE_150))
    before = replace(TABLES["level"], rows=rows)
    of_150 = Version("150.0", NEWEST.released)

    def shown(summary: ChannelTable) -> tuple[list[str], str]:
        page = Page(table_page.table(summary, TABLE_QUERY, JUDGED["fine"]))
        return page.attributes("data-mc-key"), page.text

    keys, said = shown(before)
    assert keys == ["main_crashes", "gpu_crashes"]
    assert "No version here can report RDD, socket, utility, VR and fork server crashes." in said
    keys, said = shown(replace(before, newest=of_150))
    assert (keys, "can report" in said) == (["main_crashes", "gpu_crashes", *SINCE_150], False)
    assert shown(replace(before, older=(of_150,)))[0] == keys, "an older version reports them"
    keys, said = shown(replace(before, product=contract.PACKAGED_PRODUCTS.named("Firefox iOS"), os_name="iOS"))
    assert keys == ["main_crashes"], "it is on the cards"


def test_table_has_a_cell_for_each_head_in_every_row() -> None:
    for each in TABLES.values():
        page = Page(table_page.table(each, TABLE_QUERY, JUDGED["bad"]))
        cells = [tag for tag, _ in page.elements if tag in ("th", "td")]
        assert len(cells) % (len(contract.MEASURE_NAMES) - len(SINCE_150) + 1) == 0


def test_table_behind_the_chart_shows_the_lines_that_are_on() -> None:
    query = replace(DETAIL_QUERY, behind=True, hidden=("55.0.3", "older"))
    page = Page(detail_page.behind(DETAILS["up"], query))
    heads = [text for text in page.texts if text in ("56.0", "55.0.3", "55.0", "54.0")]
    assert heads == ["56.0", "55.0"]
    assert page.text.count("incomplete") == 1
    assert sum(tag == "tr" for tag, _ in page.elements) == 7
    assert "Mon 09 Oct 14:00" in page.text


def test_table_behind_the_chart_has_no_row_of_lines_that_it_does_not_show() -> None:
    shown = DETAILS["up"]
    older = shown.windows.assign(window_start=shown.windows["window_start"] - timedelta(days=30))
    windows = shown.windows.where(shown.windows["line"] != "54.0", older)
    page = Page(detail_page.behind(replace(shown, windows=windows), replace(DETAIL_QUERY, behind=True)))
    assert sum(tag == "tr" for tag, _ in page.elements) == 7


@pytest.mark.parametrize(
    "query",
    [
        DETAIL_QUERY,
        replace(DETAIL_QUERY, line="build", window="5min", official=False, cut=5),
        replace(
            DETAIL_QUERY, interval="custom", since=date(2017, 10, 5), until=date(2017, 10, 6), time="since_release"
        ),
        replace(TABLE_QUERY, period="last_24h"),
    ],
)
def test_code_of_a_page_gives_what_the_page_shows(query: Query, tmp_path: Path) -> None:
    rows = """
        window    display_version  usage_hours  main_crashes
        02T10:00  55.0.3           200          2
        05T13:00  56.0             100          3
        05T14:10  56.0             50           1
    """
    write(tmp_path / "dataset", rows, "05T14:12")
    CALENDAR.save(tmp_path / "releases.json")
    reader = DatasetReader(Dataset(tmp_path / "dataset"), CALENDAR)
    shown = reader.read(query)
    code = detail_page.detail_code(query) if query.view == "detail" else table_page.table_code(query)
    *lines, last = code.splitlines()
    names: dict[str, Any] = {"DATASET": str(tmp_path / "dataset"), "RELEASES": str(tmp_path / "releases.json")}
    exec("\n".join(lines), names)
    given = eval(last, names)
    if query.view == "detail":
        pd.testing.assert_frame_equal(given, shown.windows)
    else:
        assert given == shown.rows


# ---------- freshness ----------
def test_clock_of_freshness_gets_the_moment_and_the_limit() -> None:
    page = Page(layout.freshness(NOW, 600, now=NOW + timedelta(seconds=600)))
    assert page.text == "Data up to 14:35:10 UTC"
    assert page.classes() == ["mc-fresh"]
    assert page.attributes("data-mc-up-to") == [str(int(NOW.timestamp() * 1000))]
    assert page.attributes("data-mc-stale-after") == ["600"]
    assert "mc-stale" in Page(layout.freshness(None, 600)).classes()[0]


def test_stale_data_look_stale_before_any_script_has_run() -> None:
    page = Page(layout.freshness(NOW, 600, now=NOW + timedelta(seconds=601)))
    assert page.text == "Data stopped at 14:35:10 UTC"
    assert page.classes() == ["mc-fresh mc-stale"]


def test_every_card_says_as_of_when_it_is_for_when_data_stop() -> None:
    said = Page(PAGES["overview up bad"]()).text
    assert said.count("As of Mon 9 Oct 14:35 UTC. Nothing newer has arrived") == 2


def test_crumbs_lead_back_up() -> None:
    page = Page(layout.top(replace(DETAIL_QUERY, channel="beta", os_name="Linux"), NOW, 600))
    assert page.attributes("href") == ["#mc-main", "?", "?channel=beta", "?view=table&channel=beta&platform=linux"]
    assert page.text.startswith("Skip to the content Mission Control Beta Linux Main crashes")


# ---------- drawings ----------
def test_spark_leaves_a_gap_where_there_was_no_usage() -> None:
    page = Page(svg.spark([1.0, 1.1, None, 1.2, 1.3], [1.0] * 5, 1.0, 0, "x"))
    assert page.classes("polyline") == ["p", "n", "n"]


def test_spark_dots_its_incomplete_end() -> None:
    page = Page(svg.spark([1.0, 1.1, 1.2, 1.3], [1.0] * 4, 1.0, 2, "x"))
    assert page.classes("polyline") == ["p", "n", "y"]
    newest, late = (page.attributes("points")[place].split() for place in (1, 2))
    assert (len(newest), len(late)) == (2, 3)
    assert newest[-1] == late[0]


@settings(deadline=None)
@given(
    st.lists(st.none() | st.floats(0, 1e9), max_size=12), st.integers(0, 15), st.sampled_from([0.0, 1.0, float("nan")])
)
def test_spark_of_anything_is_well_formed_and_within_its_box(rates, incomplete: int, base: float) -> None:
    page = Page(svg.spark(rates, rates[::-1], base, incomplete, "x"))
    points = [pair.split(",") for each in page.attributes("points") for pair in each.split()]
    assert all(0 <= float(x) <= 200 and 0 <= float(y) <= 40 for x, y in points)


@pytest.mark.parametrize(
    ("change", "dots", "heads"),
    [(UP, 1, 0), (Change(3.0, 2.0, 5.0), 0, 1), (Change(-0.5, -0.9, 1.2), 0, 2), (FROM_NOTHING, 0, 0)],
)
def test_whisker_has_arrow_heads_where_it_leaves_its_scale(change: Change, dots: int, heads: int) -> None:
    page = Page(svg.whisker("bad", change.value, change.lower, change.upper))
    assert (page.classes("circle").count("d"), page.classes("path").count("h")) == (dots, heads)


def test_settings_of_a_page_are_said_on_its_button() -> None:
    assert messages.setting(DETAIL_QUERY) == "7 d, latest, hour, version, rate: change"
    assert messages.setting(replace(TABLE_QUERY, period="last_24h")) == "Release, Windows, rate, last 24 h: change"
    days = {"since": moment("01T00:00").date(), "until": moment("03T00:00").date()}
    said = messages.setting(replace(DETAIL_QUERY, interval="custom", **days))
    assert said == "2017-10-01 to 2017-10-03, latest, hour, version, rate: change"


def test_title_names_the_place() -> None:
    assert messages.page_title(QUERY) == "Release · Mission Control"
    assert messages.page_title(DETAIL_QUERY) == "Main crashes, Release, Windows · Mission Control"


# ---------- versions that the calendar lacks ----------
UNLISTED = Version("57.0", NEWEST.released, date(2024, 5, 14))
NOT_LISTED = "not on the release calendar of 2024-05-14"
UNLISTED_CHANNEL = replace(OVERVIEWS["up"].channels[0], newest=UNLISTED)


def test_version_that_the_calendar_lacks_is_named_as_such_on_every_page() -> None:
    front = Page(overview_page.overview(overview(UNLISTED_CHANNEL), QUERY, JUDGED["bad"])).text
    assert f"57.0 {NOT_LISTED}" in front
    assert f"first hour in which it had 1 % of the channel’s usage: it is {NOT_LISTED}." in plain(front)
    assert f"57.0 is {NOT_LISTED}." in verdict_words.channel_headline(UNLISTED_CHANNEL, JUDGED["bad"], NOW)[2]

    unlisted = replace(TABLES["mixed"], newest=UNLISTED, older=(replace(UNLISTED, version="55.0.9"),))
    assert verdict_words.table_headline(unlisted, JUDGED["bad"])[2].startswith(f"57.0 is {NOT_LISTED}. ")
    assert Page(table_page.table(unlisted, TABLE_QUERY, JUDGED["bad"])).text.count(NOT_LISTED) == 2

    line = Line("57.0", "57.0", 0, NOW, UNLISTED.not_listed_on)
    shown = replace(DETAILS["up"], newest=UNLISTED, previous=UNLISTED, lines=(line, replace(line, label="55.0.9")))
    assert verdict_words.detail_headline(shown, JUDGED["bad"])[2].startswith(f"57.0 and 57.0 are {NOT_LISTED}. ")
    assert (
        f"57.0 and 55.0.9 are {NOT_LISTED}." in Page(detail_page.below_chart(shown, DETAIL_QUERY, JUDGED["bad"])).text
    )


def test_lines_in_narrow_places_do_not_break_within_the_date_of_the_calendar() -> None:
    pages = [
        overview_page.overview(overview(UNLISTED_CHANNEL), QUERY, JUDGED["bad"]),
        table_page.table(replace(TABLES["mixed"], newest=UNLISTED), TABLE_QUERY, JUDGED["bad"]),
    ]
    for page in pages:
        assert re.search(r'mc-unlisted">not on the release calendar of <span class="mc-nowrap">2024-05-14</span>', page)


@pytest.mark.parametrize("name", PAGES)
def test_page_whose_versions_are_all_on_the_calendar_says_nothing_about_it(name: str) -> None:
    assert "release calendar of" not in Page(PAGES[name]()).text
