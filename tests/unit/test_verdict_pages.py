"""The judge's verdicts on pages: their colour, word and order, and what the sentences say."""

from dataclasses import replace

import pytest

from missioncontrol_nb.dashboard import verdict_words
from missioncontrol_nb.dashboard.judged import Judged
from missioncontrol_nb.dashboard.pages import components
from missioncontrol_nb.dashboard.pages import detail as detail_page
from missioncontrol_nb.dashboard.pages import overview as overview_page
from missioncontrol_nb.dashboard.pages import table as table_page
from missioncontrol_nb.dashboard.query import Query
from missioncontrol_nb.dashboard.views import drawing
from missioncontrol_nb.judgement.events import Event
from missioncontrol_nb.judgement.verdicts import Figures
from missioncontrol_nb.monitor import MeasureSummary
from tests.unit.small_dataset import moment
from tests.unit.small_summaries import (
    DOWN,
    FROM_NOTHING,
    LEVEL,
    NEWEST,
    NOW,
    UP,
    channel,
    detail,
    measured,
    overview,
    platform,
    table,
    without_pings,
)
from tests.unit.small_verdicts import RISE, judged, verdict, with_builds
from tests.unit.test_pages import Page, plain

QUERY, TABLE_QUERY = Query(), Query(view="table")
DETAIL_QUERY = Query(view="detail", measure="content_crashes")
PLACES = [("Windows_NT", "main_crashes"), ("Windows_NT", "content_crashes"), ("Linux", "main_crashes"),
          ("Linux", "content_crashes")]  # fmt: skip
NONE_BEFORE = "fewer than two earlier releases to compare with"
BAD = verdict("bad")
CHANNEL = channel(platform("Windows_NT", UP, LEVEL), platform("Linux", LEVEL, LEVEL))
TABLE = table({"main_crashes": UP, "content_crashes": LEVEL, "gpu_crashes": DOWN})
SENTENCE = (
    "Bad on Windows: 56.0 on release has 2.1 times as many content crashes as expected, since Mon 9 Oct 02:00 UTC"
)
SURE = "How sure: chance alone does this to fewer than 1 of 20 000 healthy releases."
HOW_BAD = "9.4 per 1000 hours of use since then, 4.5 expected (1.9 to 2.4 times). Up to 5.2 would be acceptable."


def with_others(*verdicts, **options) -> Judged:
    """Those verdicts, and fine ones on all other places."""
    there = {(each.series.os_name, each.series.measure) for each in verdicts}
    fine = [verdict("fine", *place) for place in PLACES if place not in there]
    return judged(*verdicts, *fine, **options)


def headline_of(found: Judged, shown=CHANNEL) -> tuple[str, str, str]:
    state, words, line = verdict_words.overview_headline(overview(shown), "release", found)
    return state, plain(words), plain(line)


# ---------- one headline for one question ----------
def test_bad_release_has_the_same_headline_on_every_page() -> None:
    found = with_others(BAD)
    front = verdict_words.overview_headline(overview(CHANNEL), "release", found)
    row = measured("content_crashes", LEVEL)
    others = verdict_words.table_headline(TABLE, found), verdict_words.detail_headline(detail(row), found)
    for state, words, line in (front, *others):
        assert (state, plain(words)) == ("bad", SENTENCE)
        assert plain(line).startswith(f"{HOW_BAD} {SURE}")


def test_headline_says_how_bad_it_is_now_and_not_since_release() -> None:
    _, words, line = headline_of(with_others(BAD))
    assert BAD.since_release.ratio == 1.38
    assert "2.1 times" in words
    assert "1.4" not in words + line


def test_rise_that_begins_with_the_release_says_so() -> None:
    found = with_others(verdict("bad", since=NEWEST.released))
    assert headline_of(found)[1].endswith("as many content crashes as expected, since its release")


def test_what_looks_bad_is_said_in_percent_and_as_not_sure() -> None:
    state, words, line = headline_of(with_others(verdict("looks bad", "Linux", "main_crashes")))
    assert (state, words) == (
        "looks-bad",
        "Looks bad on Linux: 56.0 on release has 14 % more main crashes than expected, since Mon 9 Oct 02:00 UTC",
    )
    assert "4.94 per 1000 hours of use since then, 4.33 expected (+14 %, +4 to +25 %)." in line
    assert "Not sure yet: chance alone does this to fewer than 1 of 30 healthy releases." in line


def test_alarm_that_stays_up_says_that_the_rate_is_back_and_why_it_stays() -> None:
    now = Figures(430, 1e5, 4.3, 4.1, 4.5, 4.31, 0.998, 0.92, 1.07)
    _, words, line = headline_of(with_others(verdict("bad", now=now, evidence=4.0)))
    assert "has more content crashes than expected, since" in words
    assert "it is no longer above that" in line
    assert "The alarm stays up until the rate has been back for some time, or nothing speaks for it any more." in line


def test_headline_names_the_users_who_have_most_of_the_excess() -> None:
    found = with_others(verdict("bad", part={"os_version": "10.0", "country": "DE"}))
    assert "Most of the excess is on system version 10.0, country DE." in headline_of(found)[2]


def test_headline_takes_the_worst_and_names_the_others() -> None:
    found = with_others(
        verdict("looks bad", "Windows_NT", "main_crashes"), BAD, verdict("bad", "Linux", "main_crashes", evidence=120.0)
    )
    state, words, line = headline_of(found)
    assert (state, words) == ("bad", SENTENCE)
    assert "Also: Linux main crashes (bad, 2.1 times), Windows main crashes (looks bad, +14 %)." in line


def test_measure_without_a_card_is_in_the_headline_of_the_front_page_too() -> None:
    found = with_others(verdict("bad", "Linux", "gpu_crashes"))
    assert headline_of(found)[1].startswith("Bad on Linux: 56.0 on release has 2.1 times as many GPU crashes")


def test_other_channels_that_are_bad_are_named() -> None:
    beta = replace(channel(platform("Windows_NT", UP, LEVEL), name="beta"))
    found = with_others(verdict("bad", "Windows_NT", "main_crashes", channel="beta"))
    state, _, line = verdict_words.overview_headline(overview(CHANNEL, beta), "release", found)
    assert state == "fine"
    assert line.endswith("Beta is bad too: 56.0 on Windows, main crashes.")


def test_rise_of_all_versions_is_not_blamed_on_the_release() -> None:
    event = Event("alarm", "2017-10-09T14:00:00Z", "Firefox", "release", "Linux", "main_crashes", None, (), 2.0, 1.8,
                  2.2, 500.0, 2.0, 4.0, {}, "2017-10-09T01:00:00Z")  # fmt: skip
    said = "All versions on Linux have more main crashes since Mon 9 Oct 01:00 UTC: not this release."
    state, _, line = headline_of(with_others(outside=[event]))
    assert (state, said in line) == ("fine", True)
    assert said not in verdict_words.table_headline(TABLE, with_others(outside=[event]))[2]


def test_fine_release_says_on_which_platforms() -> None:
    assert headline_of(with_others())[:2] == (
        "fine",
        "Fine: 56.0 on release crashes no more than expected on any platform",
    )
    early = with_others(*(verdict("too early", *place) for place in PLACES[2:]))
    state, words, line = headline_of(early)
    assert (state, words) == ("fine", "Fine: 56.0 on release crashes no more than expected on Windows")
    assert "Too early to say on Linux." in line


def test_too_early_says_why_and_how_old_the_release_is() -> None:
    state, words, line = headline_of(judged(*(verdict("too early", *place) for place in PLACES)))
    assert (state, words) == ("early", "Too early to say: 56.0 on release went out 4 days ago")
    assert line == "Windows and Linux: too few hours of use so far: even twice the expected rate might not show."


@pytest.mark.parametrize(
    ("found", "said", "why"),
    [
        (Judged(has_failed=True), "could not be judged", "it could not be judged; the reason is in the server's log"),
        (judged(), "went out 4 days ago", "no usage has been reported yet"),
        (
            judged(*(verdict("too early", *place, why=NONE_BEFORE) for place in PLACES)),
            "has too few earlier releases to compare with",
            NONE_BEFORE,
        ),
    ],
)
def test_page_without_a_verdict_says_why_it_is_too_early(found: Judged, said: str, why: str) -> None:
    state, words, line = headline_of(found, channel(platform("Windows_NT", UP, LEVEL)))
    assert (state, words, line) == ("early", f"Too early to say: 56.0 on release {said}", f"Windows: {why}.")


def test_version_that_the_calendar_lacks_is_too_early_and_why() -> None:
    unlisted = replace(CHANNEL, newest=replace(NEWEST, version="57.0", not_listed_on=NOW.date()))
    state, words, line = headline_of(with_others(), unlisted)
    assert (state, words) == ("early", "Too early to say: 57.0 on release is not on the release calendar")
    assert "it is not on the release calendar, so it is not judged." in line


def test_page_shows_its_figures_while_it_is_judged() -> None:
    state, words, line = headline_of(Judged())
    assert (state, words) == ("judging", "Judging 56.0 on release …")
    assert "as they were reported" in line
    page = Page(overview_page.overview(overview(CHANNEL), QUERY, Judged()))
    assert page.text.count("Judging …") == 8  # two cells, two cards, four measures
    assert page.text.count("5.91") == 4
    assert "not judged yet" in page.text


def test_sentence_to_copy_has_the_verdict() -> None:
    said = plain(verdict_words.sentence_to_copy(CHANNEL, with_others(BAD), NOW))
    assert said == (
        "Firefox 56.0 on release, 4 days old: 8.02 main and content crashes per 1000 usage hours (55.0.3 at that age: "
        f"8.02). {SENTENCE}. {HOW_BAD} {SURE} Nothing else is or looks bad."
    )


def test_detail_of_a_fine_measure_says_what_else_is_bad_there() -> None:
    state, words, line = verdict_words.detail_headline(detail(measured("main_crashes", UP)), with_others(BAD))
    assert (state, plain(words)) == ("fine", "Fine: 56.0 on release, Windows, has no more main crashes than expected")
    assert "4.30 per 1000 hours of use since its release, 3.70 to 5.00 is acceptable." in plain(line)
    assert "Also: content crashes (bad, 2.1 times)." in plain(line)


def test_measure_that_is_not_reported_has_no_verdict() -> None:
    row = MeasureSummary("content_crashes", "not_reported", why="Nobody sends it.")
    assert verdict_words.detail_headline(detail(row, names=()), with_others(BAD)) == (
        "none",
        "Not reported on release, Windows: content crashes",
        "Nobody sends it.",
    )


# ---------- colour, word and order are the judge's alone ----------
@pytest.mark.parametrize(
    ("state", "css", "word"),
    [("bad", "bad", "Bad"), ("looks bad", "looks-bad", "Looks bad"), ("too early", "early", "Too early"),
     ("fine", "fine", "Fine")],
)  # fmt: skip
@pytest.mark.parametrize("change", [UP, DOWN, LEVEL, FROM_NOTHING])
def test_verdict_colours_and_no_interval_does(state, css: str, word: str, change) -> None:
    verdicts = verdict(state, "Linux", "main_crashes"), verdict(state, "Linux", "content_crashes")
    page = Page(overview_page.overview(overview(channel(platform("Linux", change, change))), QUERY, judged(*verdicts)))
    assert {f"mc-panel mc-card mc-{css}", f"mc-verdict mc-{css}", f"mc-change-big mc-{css}"} <= set(page.classes())
    assert page.text.count(word) >= 4
    others = {"bad", "looks-bad", "early", "fine"} - {css}
    assert not [
        name for name in page.classes() if name.split()[-1:] and name.split()[-1] in {f"mc-{each}" for each in others}
    ]
    rows = table({"main_crashes": change})
    body = Page(table_page.table(replace(rows, os_name="Linux"), TABLE_QUERY, judged(*verdicts)))
    assert body.classes("tr")[1] == f"mc-{css}"


def test_worst_first_is_by_verdict_then_by_evidence_and_size() -> None:
    names = ("gpu_crashes", "main_crashes", "content_crashes", "plugin_crashes", "startup_crashes", "gmplugin_crashes")
    verdicts = [
        verdict("fine", measure="gpu_crashes"),
        verdict("looks bad", measure="main_crashes"),
        verdict("bad", measure="content_crashes", evidence=150.0),
        verdict("bad", measure="plugin_crashes", evidence=1e9),
        verdict("too early", measure="startup_crashes"),
        verdict("fine", measure="gmplugin_crashes", evidence=3.0),
    ]
    shown = table(dict.fromkeys(names, UP))
    worst = [row.measure for row, _ in table_page.ordered(shown, "worst", judged(*verdicts))]
    assert worst[:6] == [
        *("plugin_crashes", "content_crashes", "main_crashes", "startup_crashes", "gmplugin_crashes", "gpu_crashes")
    ]


def test_rare_events_that_are_too_early_do_not_keep_a_platform_from_being_fine() -> None:
    found = with_others(verdict("too early", "Linux", "gpu_crashes"))
    assert headline_of(found)[0] == "fine"
    early = with_others(verdict("too early", "Linux", "main_crashes"))
    assert "Too early to say on Linux." in headline_of(early)[2]


def test_card_without_a_ping_is_too_early() -> None:
    page = Page(overview_page.overview(overview(channel(without_pings("Linux"))), QUERY, judged()))
    assert "mc-panel mc-card mc-early" in page.classes()


def test_newest_build_that_is_not_too_young_counts_where_builds_are_judged_one_by_one() -> None:
    young, newer, older = (
        with_builds(verdict(state, "Linux", "main_crashes"), build)
        for state, build in (("too early", "3"), ("bad", "2"), ("fine", "1"))
    )
    found = judged(young, newer, older).verdicts.of("release", "Linux", "56.0", "main_crashes")
    assert (found.series.state, found.series.build_ids) == ("bad", ("2",))
    assert judged(newer).verdicts.course_of("release", "Linux", "56.0", "main_crashes") is None


# ---------- figures ----------
def test_card_shows_the_rate_now_its_interval_and_what_is_acceptable() -> None:
    page = plain(Page(overview_page.overview(overview(CHANNEL), QUERY, with_others(BAD))).text)
    assert "Content crashes Bad 9.4 9.0 to 9.7 since Mon 9 Oct 2.1 times 1.9 to 2.4 times" in page
    assert "Expected 4.5, acceptable 3.9 to 5.2" in page
    assert "Expected 4.28, acceptable 3.70 to 5.00" in page


def test_table_shows_the_acceptable_range_behind_the_dot() -> None:
    page = Page(table_page.table(TABLE, TABLE_QUERY, with_others(BAD)))
    grey = [dict(each) for name, each in page.elements if name == "rect" and each["class"] == "a" and "%" in each["x"]]
    assert [(each["x"], each["width"]) for each in grey] == [("16.7%", "37.5%")] * 2  # of -20 to +25 %, on -40 to +80 %
    assert page.classes("path").count("h") >= 1  # 2.1 times leaves the scale


def test_table_of_the_last_day_compares_the_last_day() -> None:
    page = plain(Page(table_page.table(TABLE, replace(TABLE_QUERY, period="last_24h"), with_others(BAD))).text)
    last_day = BAD.last_day
    assert (last_day.events, last_day.usage_hours) == (24 * 12 + 12 * 12, 72_000.0)  # the last 12 hours twice as many
    assert last_day.ratio == 1.5
    assert "Content crashes Bad 6.0" in page
    assert "+50 %" in page


def test_numbers_behind_a_verdict_are_one_click_away() -> None:
    standing = with_others(BAD).standing(CHANNEL, "Windows_NT", measured("content_crashes", LEVEL))
    page = Page(components.evidence(standing, CHANNEL))
    assert page.elements[0][0] == "details"
    said = plain(page.text)
    assert "The numbers behind this: content crashes on Windows" in said
    assert "Rate by expected rate 2.10 1.85 to 2.37" in said
    assert "Evidence that the rate rose 25 000 times as likely" in said
    assert "Hours of use, estimated 1000 k h 970 k h to 1030 k h" in said


def test_detail_shows_the_estimated_rates() -> None:
    said = plain(
        Page(detail_page.below_chart(detail(measured("content_crashes", LEVEL)), DETAIL_QUERY, with_others(BAD))).text
    )
    assert "56.0 since Mon 9 Oct 02:00 9.4 9.0 to 9.7 · 940 in 100 k h" in said
    assert "56.0 since release 5.91 5.76 to 6.06 · 5 910 in 1000 k h" in said
    assert "Expected 4.5 acceptable 3.9 to 5.2" in said
    reported = plain(
        Page(detail_page.below_chart(detail(measured("content_crashes", LEVEL)), DETAIL_QUERY, Judged())).text
    )
    assert "56.0 since release, as reported 5.91" in reported


def test_chart_has_the_acceptable_range_and_the_moment_of_the_alarm() -> None:
    shown = detail(measured("content_crashes", LEVEL))
    drawn = drawing(shown, with_others(BAD), DETAIL_QUERY, narrow=False)
    assert "bad since Mon 9 Oct 02:00" in drawn["columns"]["labels"]["label"]["labels"]
    assert drawn["columns"]["acceptable_label"]["label"]["labels"] == ["acceptable now: 3.2 to 5.0"]
    assert "56.0: hours of use still to be reported are estimated." in drawn["readout"]["quiet"]
    plainly = drawing(shown, Judged(), DETAIL_QUERY, narrow=False)
    assert plainly["columns"]["rises"]["x"] == b""
    assert plainly["spec"] == drawn["spec"]


def test_moment_of_the_alarm_is_that_of_the_rise() -> None:
    assert BAD.since == RISE == moment("09T02:00")
