"""A day's sums: added, taken apart, made rows again; and a day of a table replaced while others append to it."""

import random
import time
from datetime import UTC, date, datetime, timedelta

import deltalake
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from streaming import contract
from streaming.dataset.day_sums import (
    added,
    are_same,
    as_rows,
    day_sums,
    has_negative,
    on_day,
    subtracted,
    sums_schema,
    totals,
)
from streaming.dataset.writer import TableWriter, append
from streaming.errors import MissionControlError

TABLE = contract.REJECTED_PINGS
DAY = date(2017, 10, 2)


def rejects(*counts, day=DAY):
    """Rows of one window, a reason a count: `a` of the first count, `b` of the second, ..."""
    start = datetime(day.year, day.month, day.day, 14, tzinfo=UTC)
    window = {"submission_date": day, "window_start": start, "window_end": start + contract.WINDOW}
    listed = [{**window, "document_type": "main", "reason": chr(97 + place), "count": count}
              for place, count in enumerate(counts) if count is not None]  # fmt: skip
    return pa.Table.from_pylist(listed, contract.schema(TABLE))


def by_reason(sums):
    return {row["reason"]: row["count"] for row in sums.to_pylist()}


def replace_by(writer, rows, batch=1, app="backfill"):
    return writer.replace(lambda now: rows, on_day(DAY), batch, app, {"why": "test"}, "mark")


@pytest.fixture
def writer(tmp_path):
    return TableWriter(str(tmp_path), TABLE)


def held(writer, day=DAY):
    return by_reason(day_sums(DeltaTable(writer.url), TABLE, day))


def test_days_are_added_and_taken_by_key():
    first, second = rejects(1, 5), rejects(2, None, 7)
    assert by_reason(added(TABLE, first, second)) == {"a": 3, "b": 5, "c": 7}
    assert by_reason(subtracted(TABLE, added(TABLE, first, second), first)) == {"a": 2, "c": 7}
    assert by_reason(subtracted(TABLE, first, second)) == {"a": -1, "b": 5, "c": -7}
    assert has_negative(TABLE, subtracted(TABLE, first, second))
    assert not has_negative(TABLE, first.slice(0, 0))
    assert are_same(TABLE, added(TABLE, first, second), added(TABLE, second, first))
    assert not are_same(TABLE, first, second)
    assert not are_same(TABLE, first, rejects(1))
    assert are_same(TABLE, first.slice(0, 0), first.slice(0, 0))


def test_a_key_of_nothing_is_kept_when_added_and_makes_a_difference():
    assert by_reason(added(TABLE, rejects(0), rejects(None, 2))) == {"a": 0, "b": 2}
    assert not are_same(TABLE, rejects(0, 2), rejects(None, 2))


@pytest.mark.parametrize("table", contract.TABLES, ids=lambda table: table.name)
def test_rows_of_any_table_come_back_the_same_from_their_sums(table, tmp_path):
    random_ = random.Random(table.name)
    rows = pa.Table.from_pylist([any_row(table, random_) for _ in range(200)], contract.schema(table))
    writer = TableWriter(str(tmp_path), table)
    writer.append(rows, 0, "stream")
    writer.append(rows, 1, "stream")
    sums = day_sums(DeltaTable(writer.url), table, DAY)
    assert sums.schema == sums_schema(table)
    writer.replace(lambda now: as_rows(table, sums), on_day(DAY), 0, "backfill", {}, "mark")
    again = DeltaTable(writer.url)
    assert are_same(table, day_sums(again, table, DAY), sums)
    assert len(again.file_uris()) == 1
    for name in table.sums:
        assert totals(table, sums)[name] == pytest.approx(2 * sum(rows[name].to_pylist()))


def any_row(table, random_):
    row = {key: random_.choice("xyz") for key in table.keys}
    start = datetime(2017, 10, 2, random_.randrange(24), tzinfo=UTC)
    times = {"window_start": start, "window_end": start + timedelta(minutes=5), "submission_hour": start}
    others = {"submission_date": DAY, "delay_hours": random_.choice(contract.DELAY_BUCKET_EDGES_HOURS), **times}
    row |= {key: value for key, value in others.items() if key in table.keys}
    row |= {name: random_.randrange(9) for name in table.sums}
    return row | ({"usage_hours": random_.randrange(90_000) / 3600} if "usage_hours" in table.sums else {})


def test_commit_of_a_process_that_was_halted_counts_once_whether_it_landed_or_not(writer, monkeypatch):
    calls, late, landed = [], 0.0, True
    monotonic, clock_gettime = time.monotonic, time.clock_gettime

    def write(*arguments, **options):
        """Is halted the first time, for longer than a store would be waited for."""
        nonlocal late
        calls.append(arguments)
        if len(calls) > 1 or landed:
            write_deltalake(*arguments, **options)
        late += 700 if len(calls) == 1 else 0

    monkeypatch.setattr(deltalake, "write_deltalake", write)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + late)
    monkeypatch.setattr(time, "clock_gettime", lambda clock: clock_gettime(clock) + late)
    assert not writer.append(rejects(1), 0, "stream"), "the second attempt finds it"
    assert (held(writer), len(calls)) == ({"a": 1}, 1)
    calls, landed = [], False
    assert writer.append(rejects(1), 1, "stream")
    assert (held(writer), len(calls)) == ({"a": 2}, 2)
    calls = []
    assert replace_by(writer, rejects(7))
    assert (held(writer), len(calls)) == ({"a": 7}, 2)


def test_day_is_replaced_once_and_others_stay(writer):
    writer.append(rejects(1, 2), 0, "stream")
    writer.append(rejects(9, day=DAY + timedelta(days=1)), 1, "stream")
    assert replace_by(writer, rejects(5))
    assert replace_by(writer, rejects(6)), "the transaction is known: nothing is done again"
    assert held(writer) == {"a": 5}
    assert held(writer, DAY + timedelta(days=1)) == {"a": 9}
    assert DeltaTable(writer.url).history(1)[0]["why"] == "test"
    assert replace_by(writer, rejects(5).slice(0, 0), 2)
    assert held(writer) == {}
    version = DeltaTable(writer.url).version()
    assert not replace_by(writer, None, 3)
    assert DeltaTable(writer.url).version() == version


@pytest.mark.parametrize("before", [(1, 2), (None, None)], ids=["rows", "no rows"])
def test_rows_that_are_appended_to_the_day_meanwhile_are_seen(writer, tmp_path, before):
    writer.append(rejects(*before), 0, "stream")
    seen = []

    def remake(now):
        seen.append(by_reason(day_sums(now, TABLE, DAY)))
        if len(seen) == 1:
            append(str(tmp_path), TABLE, rejects(3), 1, "stream")
        return added(TABLE, rejects(100), day_sums(now, TABLE, DAY))

    writer.replace(remake, on_day(DAY), 1, "backfill", {}, "mark")
    assert len(seen) == 2
    assert held(writer)["a"] == 100 + (before[0] or 0) + 3


def test_rows_that_are_appended_to_another_day_meanwhile_do_not_matter(writer, tmp_path):
    writer.append(rejects(1), 0, "stream")
    seen = []

    def remake(now):
        seen.append(now.version())
        append(str(tmp_path), TABLE, rejects(3, day=DAY + timedelta(days=1)), 1, "stream")
        return rejects(5)

    writer.replace(remake, on_day(DAY), 1, "backfill", {}, "mark")
    assert len(seen) == 1
    assert held(writer) == {"a": 5}
    assert held(writer, DAY + timedelta(days=1)) == {"a": 3}


def test_appender_whose_handle_is_older_than_a_replacement_appends_all_the_same(writer, tmp_path):
    stream = TableWriter(str(tmp_path), TABLE)
    stream.append(rejects(1), 0, "stream")
    replace_by(writer, rejects(5))
    assert stream.append(rejects(2), 1, "stream")
    assert held(writer) == {"a": 7}


def test_what_is_wrong_with_the_rows_is_said_at_once(writer):
    calls = []

    def remake(now):
        calls.append(now)
        raise MissionControlError("not like this")

    with pytest.raises(MissionControlError, match=r"^not like this$"):
        writer.replace(remake, on_day(DAY), 1, "backfill", {}, "mark")
    assert len(calls) == 1
