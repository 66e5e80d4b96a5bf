"""Pings that report the same crash count once, however they are cut into micro-batches and shared out among tasks."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming import contract
from streaming.aggregation import once
from streaming.aggregation.counter import Counter, Delivery
from streaming.aggregation.deduplication import duplicate_dropper
from streaming.aggregation.once import CountedBefore, count_once
from streaming.aggregation.partial_sums import add_up, rows_of
from streaming.aggregation.seen_ids import FIRST_NUMBER
from tests.real_pings import crash, glean

BEGAN = datetime(2026, 11, 20, tzinfo=UTC)
HOURS_A_DAY, DAYS = 24, 3  # of looking back
COUNTRIES = sorted(contract.COUNTRIES)


class Ping(NamedTuple):
    """A crash ping. hours: of its submission since BEGAN; country: tells it from others."""

    hours: int
    event: str
    dump: str
    country: str

    @property
    def document(self) -> bytes:
        document = crash(event_id=self.event, minidump_sha256_hash=self.dump)
        moment = (BEGAN + timedelta(hours=self.hours)).isoformat()
        return json.dumps(document | {"submission_timestamp": moment, "normalized_country_code": self.country}).encode()


class Counted(NamedTuple):
    """The countries of pings that count, and the number of those that were passed over, by the hour."""

    countries: list[str]
    passed_over: dict[int, int]


def counted_by_definition(batches: Sequence[Sequence[Ping]], days: int = DAYS) -> Counted:
    """Each ping compared with all that were read before it."""
    read: list[Ping] = []
    countries, passed_over = [], {}
    for batch in batches:
        for ping in sorted(batch, key=lambda each: each.hours):  # stable: else in the order of their numbers
            near = [other for other in read if abs(other.hours - ping.hours) <= days * HOURS_A_DAY]
            if any(
                (ping.event and ping.event == other.event) or (ping.dump and ping.dump == other.dump) for other in near
            ):
                passed_over[ping.hours] = passed_over.get(ping.hours, 0) + 1
            else:
                countries.append(ping.country)
            read.append(ping)
    return Counted(sorted(countries), passed_over)


def sums_of(batch: Sequence[Ping], tasks: int) -> pa.Table:
    """What some tasks pass to the driver, in the order in which they happen to end."""
    counters = [Counter(once=True) for _ in range(tasks)]
    for number, ping in enumerate(batch):
        counters[number % tasks].add(ping.document, 0, Delivery(number))
    random.shuffle(counters)
    return add_up(pa.Table.from_batches([counter.partial_sums() for counter in counters]))


def count(
    batches: Iterable[Sequence[Ping]], folder: Path, *, tasks: int = 1, repeats: int = 1, days: int = DAYS
) -> Counted:
    """The counts of micro-batches, each of which comes so many times."""
    countries: list[str] = []
    passed_over: dict[int, int] = {}
    for number, batch in enumerate(batches):
        results = []
        for _ in range(repeats):
            sums, rows = count_once(sums_of(batch, tasks), FIRST_NUMBER + number, folder, days)
            assert rows == len(batch)
            results.append(of_sums(sums))
        assert all(result == results[0] for result in results)
        countries += results[0].countries
        for hour, pings in results[0].passed_over.items():
            passed_over[hour] = passed_over.get(hour, 0) + pings
    return Counted(sorted(countries), passed_over)


def of_sums(sums: pa.Table) -> Counted:
    totals = rows_of(contract.ERROR_AGGREGATES, sums).to_pylist()
    countries = [row["country"] for row in totals for _ in range(row["count"])]
    passed_over = {}
    for row in rows_of(contract.REJECTED_PINGS, sums).to_pylist():
        assert (row["document_type"], row["reason"]) == ("glean/crash", "same_crash")
        passed_over[(row["window_start"] - BEGAN) // timedelta(hours=1)] = row["count"]
    return Counted(sorted(countries), passed_over)


NAMES = st.sampled_from(["", "a", "b", "c"])
FEW = st.lists(st.tuples(st.integers(0, DAYS * HOURS_A_DAY), NAMES, NAMES), max_size=6)


def pings_of(drawn: list[list[tuple[int, str, str]]]) -> list[list[Ping]]:
    """Batches of pings. One that says neither event nor dump reports a crash of its own."""
    countries = iter(COUNTRIES)
    return [
        [Ping(hours, event or ("" if dump else f"only {country}"), dump, country)
         for (hours, event, dump), country in zip(batch, countries, strict=False)]
        for batch in drawn
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(FEW, max_size=5), st.integers(1, 3), st.integers(1, 2))
def test_within_the_days_of_looking_back_any_order_gives_what_the_definition_says(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[list[tuple[int, str, str]]], tasks: int, repeats: int
) -> None:
    batches = pings_of(drawn)
    found = count(batches, tmp_path_factory.mktemp("notes"), tasks=tasks, repeats=repeats)
    assert found == counted_by_definition(batches)


ON_A_DAY = st.lists(st.tuples(st.integers(0, HOURS_A_DAY - 1), NAMES, NAMES), max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4 * HOURS_A_DAY), ON_A_DAY), max_size=8))
def test_over_many_days_pings_may_be_read_a_day_late(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, list[tuple[int, str, str]]]]
) -> None:
    since, batches = 0, []
    for later, batch in drawn:
        since += later
        batches.append([(since + hours, event, dump) for hours, event, dump in batch])
    pings = pings_of(batches)
    assert count(pings, tmp_path_factory.mktemp("notes")) == counted_by_definition(pings)


BOTH, DUMP_ONLY, EVENT_ONLY = ("e", "d"), ("", "d"), ("e", "")


@pytest.mark.parametrize(
    ("order", "counts"),
    [
        ((BOTH, DUMP_ONLY, EVENT_ONLY), 1),
        ((BOTH, EVENT_ONLY, DUMP_ONLY), 1),
        ((DUMP_ONLY, BOTH, EVENT_ONLY), 1),  # the second is passed over, and its event is known from then on
        ((EVENT_ONLY, BOTH, DUMP_ONLY), 1),
        ((DUMP_ONLY, EVENT_ONLY, BOTH), 2),  # nothing says that the first two are one
        ((EVENT_ONLY, DUMP_ONLY, BOTH), 2),
    ],
)
@pytest.mark.parametrize("cut", [(3,), (1, 3), (2, 3), (1, 2, 3)])
def test_event_or_dump_alone_tells_the_crash(
    order: tuple[tuple[str, str], ...], counts: int, cut: tuple[int, ...], tmp_path: Path
) -> None:
    pings = [Ping(hour, *names, COUNTRIES[hour]) for hour, names in enumerate(order)]
    batches = [pings[first:last] for first, last in zip((0, *cut), cut, strict=False)]
    found = count(batches, tmp_path, repeats=2)
    assert (len(found.countries), sum(found.passed_over.values())) == (counts, 3 - counts)
    assert COUNTRIES[0] in found.countries


def test_crash_counts_again_when_none_like_it_was_submitted_for_the_days(tmp_path: Path) -> None:
    hours = [0, 72, 144, 217, 289, 400]
    found = count([[Ping(each, "e", "d", "DE")] for each in hours], tmp_path)
    assert found.passed_over == {72: 1, 144: 1, 289: 1}


def set_clock(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """Sets the job's clock to some hours after BEGAN."""
    now_ns = round((BEGAN + timedelta(hours=hours)).timestamp()) * 1_000_000_000
    monkeypatch.setattr(once, "time", SimpleNamespace(time_ns=lambda: now_ns))


def test_notes_are_removed_after_the_days_and_one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 40 * 24)
    for day in range(40):
        pings = [Ping(day * 24 + hour, f"{day} {hour}", "", "DE") for hour in range(20)]
        count_once(sums_of(pings, 1), FIRST_NUMBER + day, tmp_path, DAYS)
    noted = sum(np.load(file).shape[1] for file in tmp_path.glob("*.npy"))
    assert noted == 20 * (DAYS + 1 + 1)


def test_clock_that_is_ahead_removes_no_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 30)
    first, ahead = Ping(20, "e", "d", "DE"), Ping(24 * 60, "other", "", "FR")
    assert count([[first], [ahead], [first]], tmp_path).passed_over == {20: 1}


@pytest.mark.parametrize("hours_ahead", [3 * 24, 365 * 24])
def test_clock_that_is_ahead_has_no_notes_written_anew(
    hours_ahead: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, 10)
    written: list[int] = []
    save = np.save
    monkeypatch.setattr(np, "save", lambda file, rows: (written.append(rows.shape[1]), save(file, rows)))
    sizes = []
    for hours in (9, hours_ahead):
        folder, written[:] = tmp_path / str(hours), []
        for number in range(100):
            pings = [Ping(hours if number == 3 else 9, f"{number}", "", "DE"), Ping(9, f"{number} too", "", "DE")]
            count_once(sums_of(pings, 1), FIRST_NUMBER + number, folder, DAYS)
        sizes.append(sum(written))
        assert len(list(folder.glob("*.npy"))) <= 10
    assert sizes[1] < 1.2 * sizes[0]


def test_notes_of_a_clock_that_is_ahead_last_for_the_days_and_are_then_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = Ping(60 * 24, "e", "d", "DE")
    for number, (day, pings) in enumerate([(0, [ahead]), (DAYS, [ahead]), (3 * DAYS, [Ping(216, "f", "", "DE")])]):
        set_clock(monkeypatch, day * 24)
        found = of_sums(count_once(sums_of(pings, 1), FIRST_NUMBER + number, tmp_path, DAYS)[0])
        assert len(found.countries) == (0 if number == 1 else 1)
    noted = sum(np.load(file).shape[1] for file in tmp_path.glob("*.npy"))
    assert noted == 1


def test_pings_of_other_kinds_and_crashes_that_name_no_crash_are_summed_at_once() -> None:
    counter = Counter(once=True)
    of_empty_file = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    documents = [glean("firefox-desktop", "baseline"), crash(), crash(minidump_sha256_hash=of_empty_file)]
    for number, document in enumerate(documents):
        assert counter.add(json.dumps(document).encode(), 0, Delivery(number)) is None
    sums = pa.Table.from_batches([counter.partial_sums()])
    assert set(sums["table"].to_pylist()) == {contract.ERROR_AGGREGATES.name}
    assert sum(sums["count"].to_pylist()) == 3


def test_crashes_of_two_applications_are_two(tmp_path: Path) -> None:
    platforms = tuple(replace(platform, application="Fenix") for platform in contract.FIREFOX.platforms)
    fenix = replace(contract.FIREFOX, name="Fenix", platforms=platforms)
    desktop, mobile = json.loads(Ping(0, "e", "d", "DE").document), json.loads(Ping(1, "e", "d", "FR").document)
    mobile["metadata"]["document_namespace"] = "org-mozilla-fenix"
    counter = Counter(products=contract.Products((contract.FIREFOX, fenix)), once=True)
    for number, document in enumerate((desktop, mobile)):
        assert counter.add(json.dumps(document).encode(), 0, Delivery(number)) is None
    sums, _ = count_once(add_up(pa.Table.from_batches([counter.partial_sums()])), 1, tmp_path, DAYS)
    assert of_sums(sums).countries == ["DE", "FR"]


def test_experiments_of_a_crash_that_is_passed_over_are_not_counted(tmp_path: Path) -> None:
    document = crash(event_id="e")
    document["ping_info"]["experiments"] = {"one": {"branch": "a"}, "two": {"branch": "b"}}
    counter = Counter(once=True)
    for number in range(2):
        counter.add(json.dumps(document).encode(), 0, Delivery(number))
    sums, rows = count_once(add_up(pa.Table.from_batches([counter.partial_sums()])), 1, tmp_path, DAYS)
    assert rows == 6
    experiments = rows_of(contract.EXPERIMENT_ERROR_AGGREGATES, sums).to_pylist()
    assert [(row["experiment_id"], row["count"]) for row in experiments] == [("one", 1), ("two", 1)]
    assert sum(rows_of(contract.REJECTED_PINGS, sums)["count"].to_pylist()) == 1
    assert sum(filter(None, sums["bytes"].to_pylist())) == 2 * len(json.dumps(document))


def test_same_document_is_a_duplicate_before_it_is_the_same_crash(tmp_path: Path) -> None:
    """The document counts first, then the event, then the dump."""
    first, again = ({**crash(event_id="e"), "document_id": name} for name in "ab")
    counter = Counter(by_delivery=True, once=True)
    for number, document in enumerate([first, first, again, glean("firefox-desktop", "baseline")]):
        counter.add(json.dumps(document).encode(), 0, Delivery(number, number))
    kept = duplicate_dropper(1, tmp_path / "ids")(iter([counter.partial_sums()]))
    sums, rows = count_once(add_up(pa.Table.from_batches(kept)), 1, tmp_path / "crashes", DAYS)
    reasons = {row["reason"]: row["count"] for row in rows_of(contract.REJECTED_PINGS, sums).to_pylist()}
    assert reasons == {"duplicate": 1, "same_crash": 1}
    assert rows == 2
    assert sum(rows_of(contract.ERROR_AGGREGATES, sums)["count"].to_pylist()) == 2


@pytest.mark.parametrize(
    ("noted_hours", "is_counted"),
    [
        ((), True),
        ((23,), False),  # the day before
        ((30,), True),  # the same day, which is counted anew
        ((23, 30), False),
        ((50,), False),  # only the day after: it counts there
        ((30, 50), True),  # the ping of the day after was passed over
        ((30 + 3 * 24 + 1,), True),  # too long after
    ],
)
def test_backfill_passes_over_what_counts_on_other_days(
    noted_hours: tuple[int, ...], is_counted: bool, tmp_path: Path
) -> None:
    for number, hours in enumerate(noted_hours):
        count_once(sums_of([Ping(hours, "e", "d", "DE")], 1), FIRST_NUMBER + number, tmp_path / "job", DAYS)
    day_us = [round((BEGAN + timedelta(days=day)).timestamp() * 1e6) for day in (1, 2)]
    before = CountedBefore(tmp_path / "job", *day_us)
    for ping in (Ping(30, "e", "", "DE"), Ping(30, "", "d", "DE")):
        sums, _ = count_once(sums_of([ping], 1), FIRST_NUMBER, tmp_path / ping.event, DAYS, before)
        assert len(of_sums(sums).countries) == is_counted
