"""Any split of pings over counters gives the sums that one plain loop gives; which window and bucket a ping lands in."""

from collections import Counter as Tally
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from streaming import contract
from streaming.counting import Counter
from streaming.pings import Envelope
from tests.any_pings import DOCUMENTS, WHOLE
from tests.plain_loop import StandIn, Sums, plain_sums

RECEIVED = st.sampled_from([1_506_952_800_000_000, 1_506_953_099_999_999, 1_506_953_100_000_000, 0])
STAND_INS = st.sampled_from(
    [StandIn(), StandIn("beta", "FR"), StandIn("esr", "", datetime(2017, 10, 2, 15, 30)), StandIn("", "??")]
)


def envelope_of(stand_in: StandIn) -> Envelope:
    return Envelope(stand_in.channel or None, stand_in.country or None, stand_in.submitted_at)


def sums_of(*counters: Counter) -> Sums:
    """The sums of counters by table and key; usage in whole seconds."""
    tables: dict[str, dict[tuple[object, ...], Tally[str]]] = {table.name: {} for table in contract.TABLES}
    for row in (row for counter in counters for row in counter.partial_sums().to_pylist()):
        table = next(table for table in contract.TABLES if table.name == row["table"])
        sums = tables[table.name].setdefault(tuple(row[key] for key in table.keys), Tally())
        sums.update({name: row[name] * 3600 if name == "usage_hours" else row[name] for name in table.sums})
    return {
        table.name: {key: tuple(round(sums[name]) for name in table.sums) for key, sums in tables[table.name].items()}
        for table in contract.TABLES
    }


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(DOCUMENTS, RECEIVED, st.integers(0, 2)), max_size=30), STAND_INS)
def test_any_split_over_counters_in_any_order_gives_the_plain_loops_sums(
    dealt: list[tuple[bytes, int, int]], stand_in: StandIn
) -> None:
    counters = [Counter(envelope_of(stand_in)) for _ in range(3)]
    for document, received_us, number in reversed(dealt):
        counters[number].add(document, received_us)
    assert sums_of(*counters) == plain_sums(((document, received) for document, received, _ in dealt), stand_in)


@settings(max_examples=1000, deadline=None)
@given(DOCUMENTS | WHOLE, RECEIVED, STAND_INS)
def test_every_single_document_counts_as_in_the_plain_loop(
    document: bytes, received_us: int, stand_in: StandIn
) -> None:
    counter = Counter(envelope_of(stand_in))
    counter.add(document, received_us)
    assert sums_of(counter) == plain_sums([(document, received_us)], stand_in)
