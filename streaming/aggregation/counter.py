"""Counts pings: documents in, one Arrow batch of partial sums for all tables of the dataset out; pure, no Spark."""

from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from streaming import contract
from streaming.aggregation.crash_rows import packed
from streaming.pings.classify import Ping, Rejected, classifier_of
from streaming.pings.decode import decode_document
from streaming.pings.envelope import Envelope
from streaming.pings.kinds import KINDS
from streaming.pings.kinds.kind import NO_COUNTS, Counts

if TYPE_CHECKING:
    import pyarrow as pa

_WINDOW_US = round(contract.WINDOW.total_seconds() * 1e6)
_SECOND_US = 1_000_000
_HOUR_US = 3600 * _SECOND_US
_DAY_US = 24 * _HOUR_US
_DELAY_EDGES_US = [round(hours * _HOUR_US) for hours in contract.DELAY_BUCKET_EDGES_HOURS[:-1]]
# The sums of a group are one list: contract.COUNTS (usage in seconds, pings, events by measure, pings by kind, active
# seconds), then the newest submission, bytes, and the group's number in _Delays (below 0: it has none yet).
_SECONDS, _PINGS, _EVENTS = 0, 1, 2
_NEWEST = len(contract.COUNTS)
_BYTES = _NEWEST + 1
_DELAY_GROUP = _BYTES + 1
_NO_DELIVERY = (None,) * len(contract.DELIVERY_COLUMNS)
_NOTHING: list[Any] = [0] * _DELAY_GROUP + [-1]
_SUM_PLACES = {name: place for place, name in enumerate(contract.COUNTS)}
_ACTIVE = _SUM_PLACES[contract.ACTIVE_SECONDS]
# Of each kind that reports a measure, the place of the number of its pings.
_PINGS_OF_KIND = {kind.name: place for kind in KINDS if (place := _SUM_PLACES.get(contract.count_of_pings(kind.id)))}


def _places(names: tuple[str, ...]) -> "itemgetter[Any]":
    return itemgetter(*(contract.DIMENSION_NAMES.index(name) for name in names if name in contract.DIMENSION_NAMES))


_experiment_dimensions = _places(contract.EXPERIMENT_DIMENSIONS)
_delay_dimensions = _places(contract.REPORTING_DELAYS.keys)
_Groups = dict[tuple[Any, ...], list[Any]]


class Delivery(NamedTuple):
    """A message, or a line of a file, that delivers a document.

    number: identifies it in its micro-batch, and orders those that were received at the same time; received_us: see
    `receipt`; None: when the document was submitted.
    """

    number: int
    received_us: int | None = None


class Counter:
    """Sums pings into partial sums: a row for each table and each combination of its keys.

    The sums do not depend on the order of the pings, because usage is summed in whole seconds. products: the products
    whose pings are counted. by_delivery: each row holds sums of one delivery of a document only, see
    contract.DELIVERY_COLUMNS. once: pings that report the same crash are to count once, so their rows are rows of
    contract.CRASHES; by_delivery, they say which crash it is.
    """

    def __init__(
        self,
        envelope: Envelope = Envelope(),  # noqa: B008 (it is frozen)
        *,
        products: contract.Products = contract.PACKAGED_PRODUCTS,
        by_delivery: bool = False,
        once: bool = False,
    ) -> None:
        self._envelope, self.by_delivery, self._once = envelope, by_delivery, once
        self._classifier = classifier_of(envelope, products)
        self._start_anew()

    def _start_anew(self) -> None:
        self._totals: _Groups = {}
        self._experiments: _Groups = {}
        self._rejects: _Groups = {}
        self._crashes: tuple[_Groups, _Groups] = ({}, {})  # totals and experiments of crashes that count once
        self._delays = _Delays()

    def __len__(self) -> int:
        """The number of groups held: rows that partial_sums would return now, unpacked and without those of delays."""
        return sum(map(len, (self._totals, self._experiments, self._rejects, *self._crashes)))

    def add(self, document: bytes, received_at_us: int, delivery: Delivery | None = None) -> str | None:
        """Count a document received at a time in microseconds since 1970; returns the reason when it is rejected.

        delivery: for a counter by delivery, or of crashes that are to count once.
        """
        deliveries = None if delivery is None else lambda _: delivery
        return self._add(decode_document(document), document, received_at_us, 0, deliveries)

    def add_all(
        self,
        documents: Sequence[bytes],
        received_at_us: Sequence[int],
        deliveries: Callable[[int], Delivery] | None = None,
    ) -> list[str | None]:
        """Count several documents like add, but faster: all are decoded before the first is counted.

        Decoding and counting each need their own data in the processor's caches, and each evicts the data of the other.
        deliveries: gives the delivery of a document by its place among the documents.
        """
        records = [decode_document(document) for document in documents]
        return [
            self._add(*each, place, deliveries)
            for place, each in enumerate(zip(records, documents, received_at_us, strict=True))
        ]

    def _add(
        self,
        record: Any,
        document: bytes,
        received_at_us: int,
        place: int,
        deliveries: Callable[[int], Delivery] | None,
    ) -> str | None:
        ping = self._classifier.classify(record, document, received_at_us)
        if isinstance(ping, Rejected):
            self._reject(ping, received_at_us, len(document))
            return ping.reason
        size = len(document)
        if not self.by_delivery and not (ping.crash and self._once and deliveries):
            self._count(ping, size, (), self._totals, self._experiments)
            return None
        delivery = _delivery(ping, deliveries and deliveries(place), self._once)
        groups = (self._totals, self._experiments) if self.by_delivery else self._crashes
        self._count(ping, size, delivery, *groups)
        return None

    def reject(
        self, reason: str, received_at_us: int, document_type: str = "unknown", size: int = 0, pings: int = 1
    ) -> None:
        """Count a reject for which there is no document, such as a file that vanished.

        reason: a key of REASONS; received_at_us: microseconds since 1970; size: bytes; pings: the number of pings.
        """
        self._reject(Rejected(reason, document_type, self._envelope.submitted_us), received_at_us, size, pings)

    def partial_sums(self) -> "pa.RecordBatch":
        """The sums since the last call, as rows of contract.partial_schema()."""
        import pyarrow as pa

        groups = {
            contract.ERROR_AGGREGATES: self._totals,
            contract.EXPERIMENT_ERROR_AGGREGATES: self._experiments,
            contract.REPORTING_DELAYS: self._delays.groups(self._totals),
            contract.REJECTED_PINGS: self._rejects,
        }
        totals, experiments = self._crashes
        of_crashes = {contract.ERROR_AGGREGATES: totals, contract.EXPERIMENT_ERROR_AGGREGATES: experiments}
        self._start_anew()
        sums = _rows(groups, by_delivery=self.by_delivery)
        if not totals:
            return sums
        crashes = packed(pa.Table.from_batches([_rows(of_crashes, by_delivery=True)]))
        return pa.concat_batches([sums, *crashes])

    def _count(
        self, ping: Ping, size: int, delivery: tuple[Any, ...], totals: "_Groups", experiments: "_Groups"
    ) -> None:
        submitted_us, dimensions, counts = ping.submitted_us, ping.dimensions, ping.counts
        window_us = submitted_us - submitted_us % _WINDOW_US
        sums = _add(totals, (window_us, *dimensions, *delivery), submitted_us, counts)
        sums[_BYTES] += size
        of_kind = _PINGS_OF_KIND.get(ping.document_type)
        if of_kind is not None:
            sums[of_kind] += 1
        if counts.used_until_us is not None:
            if sums[_DELAY_GROUP] < 0:
                hour_us = submitted_us - submitted_us % _HOUR_US
                sums[_DELAY_GROUP] = self._delays.number((hour_us, *_delay_dimensions(dimensions)), delivery)
            self._delays.add(sums[_DELAY_GROUP], submitted_us - counts.used_until_us, counts.usage_seconds)
        for experiment in ping.experiments:
            group = (window_us, *_experiment_dimensions(dimensions), *experiment, *delivery)
            sums = _add(experiments, group, submitted_us, counts)
            if of_kind is not None:
                sums[of_kind] += 1

    def _reject(self, rejected: Rejected, received_at_us: int, size: int, pings: int = 1) -> None:
        submitted_us = received_at_us if rejected.submitted_us is None else rejected.submitted_us
        group = (submitted_us - submitted_us % _WINDOW_US, rejected.document_type, rejected.reason)
        _add(self._rejects, group, rejected.submitted_us or 0, NO_COUNTS, pings)[_BYTES] += size


def _delivery(ping: Ping, delivery: Delivery | None, once: bool) -> tuple[Any, ...]:
    """The values of contract.DELIVERY_COLUMNS for a ping. once: whether pings that report the same crash count once.

    Pings of two kinds that share an id are two documents, and crashes of two applications are two crashes.
    """
    crash = ping.crash if once else ()
    if delivery is None or not (ping.document_id or crash):
        return _NO_DELIVERY
    event, dump = crash or ("", "")
    return (
        _hash(ping.document_type, ping.document_id),
        delivery.number,
        ping.submitted_us if delivery.received_us is None else delivery.received_us,
        ping.document_type,
        _hash(f"event/{ping.dimensions[0]}", event),
        _hash(f"dump/{ping.dimensions[0]}", dump),
    )


def _hash(what: str, name: str) -> bytes | None:
    """A hash of a name, which is untrusted input of any length; None where there is no name."""
    return blake2b(f"{what}/{name}".encode(), digest_size=16).digest() if name else None


def _rows(groups: "dict[contract.Table, _Groups]", *, by_delivery: bool) -> "pa.RecordBatch":
    """The sums of some tables' groups as rows of contract.partial_schema()."""
    import pyarrow as pa

    schema = contract.partial_schema(by_delivery=by_delivery)
    tables = [_columns(table, groups[table]) for table in groups]
    arrays = []
    for column in schema:
        values: list[Any] = []
        for columns in tables:
            values += columns.get(column.name) or [None] * len(columns["table"])
        arrays.append(pa.array(values, column.type))
    return pa.record_batch(arrays, schema=schema)


def _add(groups: _Groups, group: tuple[Any, ...], submitted_us: int, counts: Counts, pings: int = 1) -> list[Any]:
    """Add a ping, or several rejected ones, to the sums of their group; returns these sums."""
    sums = groups.get(group)
    if sums is None:
        sums = groups[group] = _NOTHING.copy()
    sums[_SECONDS] += counts.usage_seconds
    sums[_PINGS] += pings
    if counts.active_seconds:
        sums[_ACTIVE] += counts.active_seconds
    for place, count in counts.events:
        sums[_EVENTS + place] += count
    if submitted_us > sums[_NEWEST]:
        sums[_NEWEST] = submitted_us
    return sums


class _Delays:
    """Seconds of usage by reporting delay: by hours and by fewer dimensions than the totals have.

    Each second of a ping's usage has a delay of its own: they were used one after another until `used_until_us`. Pings
    wait until there are many, because numpy then finds their buckets in a fraction of the time.
    """

    _WAITING_AT_MOST = 32768

    def __init__(self) -> None:
        self._numbers: dict[tuple[tuple[Any, ...], tuple[Any, ...]], int] = {}
        self._waiting = array("q")  # of each ping: the number of its group, microseconds of delay, seconds of usage
        self._seconds: Any = None  # by number of the group and by bucket

    def number(self, group: tuple[Any, ...], delivery: tuple[Any, ...]) -> int:
        """The number of a group, which is a new one where the group is new."""
        return self._numbers.setdefault((group, delivery), len(self._numbers))

    def add(self, number: int, delay_us: int, seconds: int) -> None:
        """Adds a ping to a group. delay_us: microseconds from the end of its usage to its submission."""
        self._waiting.extend((number, delay_us, seconds))
        if len(self._waiting) >= 3 * self._WAITING_AT_MOST:
            self._sum()

    def _sum(self) -> None:
        """Sums the pings that wait. Delays below 0, of clients whose clocks are ahead, are in the first bucket."""
        import numpy as np

        number, delay_us, seconds = np.frombuffer(self._waiting, np.int64).reshape(-1, 3).T
        until = np.clip((np.array(_DELAY_EDGES_US)[:, None] - delay_us) // _SECOND_US, 0, seconds)
        by_bucket = np.diff(until, axis=0, prepend=0, append=seconds[None])
        sums = np.zeros((len(self._numbers), len(by_bucket)), np.int64)
        if self._seconds is not None:
            sums[: len(self._seconds)] = self._seconds
        np.add.at(sums, number, by_bucket.T)
        self._seconds, self._waiting = sums, array("q")

    def groups(self, totals: _Groups) -> _Groups:
        """The sums of each group and each bucket into which usage fell. totals: the groups whose usage it is."""
        if self._waiting:
            self._sum()
        if self._seconds is None:
            return {}
        newest = [0] * len(self._numbers)
        for sums in totals.values():
            if (number := sums[_DELAY_GROUP]) >= 0:
                newest[number] = max(newest[number], sums[_NEWEST])
        groups: _Groups = {}
        for (group, delivery), latest, by_bucket in zip(self._numbers, newest, self._seconds.tolist(), strict=True):
            for edge, seconds in enumerate(by_bucket):
                if seconds:
                    _add(groups, (*group, edge, *delivery), latest, Counts(seconds))
        return groups


def _columns(table: contract.Table, groups: _Groups) -> dict[str, list[Any]]:
    """The rows of a table by column: its keys, its sums and the newest submission.

    Only error_aggregates and rejected_pings have `bytes`, so that the bytes of each ping are counted once.
    """
    if not groups:
        return {"table": []}
    start_us, *keys = map(list, zip(*groups, strict=True))
    names = [key for key in table.keys if key not in (*contract.WINDOW_COLUMNS, "submission_hour")]
    names += contract.DELIVERY_COLUMNS  # zip ignores them where groups have none
    columns: dict[str, list[Any]] = dict(zip(names, keys, strict=False))
    columns["table"] = [table.name] * len(groups)
    columns["submission_date"] = [start // _DAY_US for start in start_us]
    if "window_start" in table.keys:
        columns["window_start"] = start_us
        columns["window_end"] = [start + _WINDOW_US for start in start_us]
    else:
        columns["submission_hour"] = start_us
        columns["delay_hours"] = [contract.DELAY_BUCKET_EDGES_HOURS[edge] for edge in columns["delay_hours"]]
    sums = list(groups.values())
    for column in table.sums:
        place = _SUM_PLACES[column]
        columns[column] = [row[place] for row in sums]
    if "usage_hours" in table.sums:
        columns["usage_hours"] = [row[_SECONDS] / 3600 for row in sums]
    columns["newest_submission"] = [row[_NEWEST] or None for row in sums]
    if table in (contract.ERROR_AGGREGATES, contract.REJECTED_PINGS):
        columns["bytes"] = [row[_BYTES] for row in sums]
    return columns
