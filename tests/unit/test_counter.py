"""Any split of pings over counters gives the plain loop's sums; which window and bucket a ping lands in."""

import gc
import sys
from datetime import UTC, date, datetime
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streaming import contract
from streaming.aggregation.counter import Counter, Delivery
from streaming.aggregation.partial_sums import add_up, rows_of
from streaming.pings.envelope import Envelope
from tests.any_pings import DOCUMENTS, WHOLE
from tests.plain_loop import StandIn, Sums, plain_sums
from tests.unit.deliveries import ping

RECEIVED = st.sampled_from([1_506_952_800_000_000, 1_506_953_099_999_999, 1_506_953_100_000_000, 0])
STAND_INS = st.sampled_from(
    [StandIn(), StandIn("beta", "FR"), StandIn("esr", "", datetime(2017, 10, 2, 15, 30)), StandIn("", "??")]
)


BUILD = ("Firefox", "release", "56.0", "56.0", "20170926190823", "Darwin", "16.7", "x86-64", "DE")


def usage(submitted: str, seconds: int, started: str | None = None, **changes: Any) -> bytes:
    """A main ping of some seconds of use."""
    info: dict[str, Any] = {"subsessionLength": seconds}
    if started:
        info["subsessionStartDate"] = started
    return ping("main", submitted, payload={"info": info} | changes)


def sums(table: contract.Table, *documents: bytes, received_us: int = 0) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The sums of documents in one table."""
    counter = Counter()
    for document in documents:
        counter.add(document, received_us)
    return sums_of(counter)[table.name]


def test_pings_are_counted_by_kind() -> None:
    crash = ping("crash", "2017-10-02T15:00:00Z", payload={"processType": "main"})
    (row,) = sums(contract.ERROR_AGGREGATES, usage("2017-10-02T15:00:00Z", 60), crash, crash).values()
    counted = dict(zip(contract.COUNTS, row, strict=True))
    assert [counted[name] for name in ("count", "main_pings", "crash_pings", "main_crashes")] == [3, 1, 2, 2]


def envelope_of(stand_in: StandIn) -> Envelope:
    return Envelope(stand_in.channel or None, stand_in.country or None, stand_in.submitted_at)


def sums_of(*counters: Counter) -> Sums:
    """The sums of counters, added up, by table and key; usage in whole seconds."""
    partials = add_up(pa.Table.from_batches([counter.partial_sums() for counter in counters]))
    tables: Sums = {}
    for table in contract.TABLES:
        rows = rows_of(table, partials).to_pylist()
        tables[table.name] = {
            tuple(row[key] for key in table.keys): tuple(
                round(row[name] * 3600 if name == "usage_hours" else row[name]) for name in table.sums
            )
            for row in rows
        }
        assert len(tables[table.name]) == len(rows), "no two rows share a key"
    return tables


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(DOCUMENTS, RECEIVED, st.integers(0, 2)), max_size=30), STAND_INS)
def test_any_split_over_counters_in_any_order_gives_the_plain_loops_sums(
    dealt: list[tuple[bytes, int, int]], stand_in: StandIn
) -> None:
    counters = [Counter(envelope_of(stand_in)) for _ in range(3)]
    for document, received_us, number in reversed(dealt):
        counters[number].add(document, received_us)
    assert sums_of(*counters) == plain_sums(((document, received) for document, received, _ in dealt), stand_in)


@settings(max_examples=500, deadline=None)
@given(DOCUMENTS | WHOLE, RECEIVED, STAND_INS)
@example(b'{"type": "crash", "version": NaN, "document_namespace": "my-product"}', 0, StandIn())
@example(b'{"type": "crash", "version": NaN, "document_namespace": "telemetry"}', 0, StandIn())
def test_every_single_document_counts_as_in_the_plain_loop(
    document: bytes, received_us: int, stand_in: StandIn
) -> None:
    counter = Counter(envelope_of(stand_in))
    counter.add(document, received_us)
    assert sums_of(counter) == plain_sums([(document, received_us)], stand_in)


IDENTIFIED = st.builds(
    lambda kind, number: ping(kind, "2017-10-02T10:00:00Z", document_id=f"id {number}"),
    st.sampled_from(["main", "crash"]),
    st.integers(0, 3),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(DOCUMENTS | WHOLE | IDENTIFIED | st.just(b""), RECEIVED), max_size=30), st.booleans())
def test_documents_that_are_added_together_count_as_one_by_one(
    dealt: list[tuple[bytes, int]], by_delivery: bool
) -> None:
    together, apart = Counter(by_delivery=by_delivery), Counter(by_delivery=by_delivery)
    documents, received = [list(column) for column in zip(*dealt, strict=True)] or ([], [])
    deliveries = [Delivery(number, number) for number in range(len(dealt))]
    reasons = together.add_all(documents, received, deliveries.__getitem__ if by_delivery else None)
    assert reasons == [apart.add(*each, delivery) for each, delivery in zip(dealt, deliveries, strict=True)]
    assert len(together) == len(apart)
    assert together.partial_sums() == apart.partial_sums()


def test_documents_are_let_go_though_one_of_them_cannot_be_parsed() -> None:
    counter, documents = Counter(), [b'{"type": 7}', ping("crash", "2017-10-02T10:00:00Z")]
    before = [sys.getrefcount(document) for document in documents]
    gc.disable()
    try:
        counter.add_all(documents, [0, 0])
        assert [sys.getrefcount(document) for document in documents] == before
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("submitted", "start", "end"),
    [
        ("2017-10-02T14:00:00Z", (2, 14, 0), (2, 14, 5)),
        ("2017-10-02T14:04:59.999999Z", (2, 14, 0), (2, 14, 5)),
        ("2017-10-02T14:05:00Z", (2, 14, 5), (2, 14, 10)),
        ("2017-10-02T23:59:59.999999Z", (2, 23, 55), (3, 0, 0)),
        ("2017-10-03T00:30:00+02:00", (2, 22, 30), (2, 22, 35)),
    ],
)
def test_window_holds_its_start_and_not_its_end(
    submitted: str, start: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    first, last = (datetime(2017, 10, *moment, tzinfo=UTC) for moment in (start, end))
    counted = sums(contract.ERROR_AGGREGATES, ping("crash", submitted))
    assert list(counted) == [(date(2017, 10, start[0]), first, last, *BUILD)]


def test_late_ping_lands_in_its_own_window() -> None:
    late, commit_time_limit = ping("crash", "2017-10-02T14:00:00Z"), ping("crash", "2017-10-04T09:00:00Z")
    counted = sums(
        contract.ERROR_AGGREGATES, commit_time_limit, late, commit_time_limit, received_us=1_507_500_000_000_000
    )
    count = contract.COUNTS.index("count")
    assert {key[1].isoformat(): row[count] for key, row in counted.items()} == {
        "2017-10-04T09:00:00+00:00": 2,
        "2017-10-02T14:00:00+00:00": 1,
    }


@pytest.mark.parametrize(
    ("submitted", "seconds"),
    [
        ("2017-10-02T09:00:00Z", {0.25: 4500, 0.5: 900, 1: 1800}),  # the client's clock is ahead
        ("2017-10-02T10:00:00Z", {0.25: 900, 0.5: 900, 1: 1800, 2: 3600}),
        ("2017-10-02T10:15:00Z", {0.5: 900, 1: 1800, 2: 3600, 3: 900}),
        ("2017-10-02T10:15:00.000001Z", {0.5: 899, 1: 1800, 2: 3600, 3: 901}),  # a second is not divided
        ("2017-10-02T11:00:00Z", {2: 3600, 3: 3600}),
        ("2017-10-03T10:00:00Z", {48: 7200}),
        ("2017-10-09T09:00:00Z", {168: 3600, float("inf"): 3600}),
        ("2017-10-09T10:00:00.000001Z", {float("inf"): 7200}),
    ],
)
def test_each_second_of_use_has_a_delay_of_its_own(submitted: str, seconds: dict[float, int]) -> None:
    """Of two hours of use, from 8 to 10 o'clock."""
    counted = sums(contract.REPORTING_DELAYS, usage(submitted, 7200, "2017-10-02T09:00:00.0+01:00"))
    hour = datetime.fromisoformat(submitted).replace(minute=0, second=0, microsecond=0)
    place = (hour.date(), "Firefox", "release", "Darwin", hour)
    assert counted == {(*place, edge): (number,) for edge, number in seconds.items()}


def test_delays_add_up_to_the_usage_and_none_is_in_no_bucket() -> None:
    random = Random(7)
    documents = [
        usage(f"2017-10-0{random.randint(2, 9)}T1{random.randint(0, 9)}:00:0{random.randint(0, 9)}Z", length, start)
        for length in (0, 1, 59, 3600, 90_000, 200_000)
        for start in ("2017-10-02T09:00:00.0+01:00", "2017-10-09T21:00:00.0+01:00")
    ]
    [of_delays, of_all] = [
        sum(row[0] for row in sums(table, *documents).values())
        for table in (contract.REPORTING_DELAYS, contract.ERROR_AGGREGATES)
    ]
    assert of_delays == of_all == 2 * (1 + 59 + 3600 + 90_000 + 90_000)


def test_ping_without_a_time_of_use_has_no_delay() -> None:
    documents = usage("2017-10-02T10:00:00Z", 3600), ping("crash", "2017-10-02T10:00:00Z")
    assert sums(contract.REPORTING_DELAYS, *documents) == {}
    assert len(sums(contract.ERROR_AGGREGATES, *documents)) == 1


def test_pings_of_one_window_and_build_add_up() -> None:
    histograms = {"SLOW_SCRIPT_PAGE_COUNT": {"values": {"0": 4}}}
    counted = sums(
        contract.ERROR_AGGREGATES,
        usage("2017-10-02T10:00:00Z", 1800, histograms=histograms),
        usage("2017-10-02T10:01:00Z", 1799, histograms=histograms),
        ping("crash", "2017-10-02T10:02:00Z"),
    )
    [row] = counted.values()
    assert {name: value for name, value in zip(contract.COUNTS, row, strict=True) if value} == {
        "usage_hours": 3599,  # seconds
        "count": 3,
        "main_crashes": 1,
        "slow_script_page_count": 8,
        "main_pings": 2,
        "crash_pings": 1,
    }


def test_ping_counts_in_each_of_its_experiments_and_once_in_the_totals() -> None:
    environment = {
        "system": {"os": {"name": "Darwin", "version": "16.7"}},
        "experiments": {"a": {"branch": "on"}, "b": {"branch": "off"}},
        "addons": {"activeExperiment": {"id": "a", "branch": "on"}},
    }
    document = ping("crash", "2017-10-02T10:00:00Z", environment=environment)
    count = contract.COUNTS.index("count")
    enrolled = sums(contract.EXPERIMENT_ERROR_AGGREGATES, document, document)
    start, end = (datetime(2017, 10, 2, 10, minute, tzinfo=UTC) for minute in (0, 5))
    window = (date(2017, 10, 2), start, end, "Firefox", "release", "56.0", "Darwin", "DE")
    assert {key: row[count] for key, row in enrolled.items()} == {(*window, "a", "on"): 2, (*window, "b", "off"): 2}
    assert [row[count] for row in sums(contract.ERROR_AGGREGATES, document, document).values()] == [2]


def test_reject_is_counted_in_its_window_by_kind_and_reason() -> None:
    received_us = 1_506_956_400_000_000  # 2017-10-02T15:00:00Z
    documents = ping("crash", "2017-10-02T10:00:00Z", payload=7), b"no text", b"no text", b'{"type": "main"'
    counted = sums(contract.REJECTED_PINGS, *documents, received_us=received_us)

    def window(hour: int) -> tuple[Any, ...]:
        return (date(2017, 10, 2), *(datetime(2017, 10, 2, hour, minute, tzinfo=UTC) for minute in (0, 5)))

    assert counted == {
        (*window(10), "crash", "wrong_type"): (1,),
        (*window(15), "unknown", "not_json"): (2,),
        (*window(15), "main", "not_json"): (1,),
    }


def test_counter_starts_anew_after_its_sums_were_taken() -> None:
    counter = Counter()
    assert counter.add(ping("crash", "2017-10-02T10:00:00Z"), 0) is None
    assert counter.add(b"[]", 0) == "not_an_object"
    assert len(counter) == 2
    assert counter.partial_sums().num_rows == 2
    assert (len(counter), counter.partial_sums().num_rows) == (0, 0)


def test_partial_sums_say_the_bytes_of_each_document_once_and_the_newest_submission() -> None:
    environment = {"system": {"os": {"name": "Darwin", "version": "16.7"}}, "experiments": {"a": "on"}}
    older = ping("crash", "2017-10-02T10:00:00Z", environment=environment)
    documents = [older, ping("crash", "2017-10-02T10:03:00Z"), b"no text"]
    counter = Counter()
    for document in documents:
        counter.add(document, 0)
    batch = counter.partial_sums()
    assert batch.schema == contract.partial_schema()
    rows = {row["table"]: row for row in batch.to_pylist()}
    assert sum(row["bytes"] or 0 for row in rows.values()) == sum(map(len, documents))
    assert rows["error_aggregates"]["newest_submission"] == datetime(2017, 10, 2, 10, 3, tzinfo=UTC)
    assert rows["rejected_pings"]["newest_submission"] is None


def test_file_that_is_no_document_is_counted_in_the_window_of_its_time() -> None:
    counter = Counter()
    counter.reject("file_corrupt", 1_506_952_800_000_000)
    window = (datetime(2017, 10, 2, 14, 0, tzinfo=UTC), datetime(2017, 10, 2, 14, 5, tzinfo=UTC))
    counted = sums_of(counter)["rejected_pings"]
    assert counted == {(date(2017, 10, 2), *window, "unknown", "file_corrupt"): (1,)}
