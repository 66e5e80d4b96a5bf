"""Writers of a dataset's Delta tables: appends that take effect exactly once however often they are repeated.

A replay is safe: a commit carries its batch's number as a transaction of its writer, and a batch whose number the table
already knows is not appended. Delta does not ensure this by itself: a transaction only conflicts with commits made
after the snapshot of the handle that writes. Hence the order in `TableWriter.append`: check and write with one handle,
and after any failure, including a lost reply to a commit that succeeded, start again with a new handle.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from streaming import contract
from streaming.aggregation.partial_sums import sum_query
from streaming.dataset.columns import add_missing, as_found, fitted, schema_of
from streaming.dataset.commits import SlowCommitError, after_commit, commit_time_limit, properties_of, repeat_data_up_to
from streaming.dataset.opening import PARTITION, check_complete, check_ours, has_log, open_table, recorded_data_up_to
from streaming.dataset.stored_products import known_products, store_products
from streaming.storage.durability import TableFiles, Unsynced, make_folder, set_aside_damaged_commits, sync_all
from streaming.storage.locations import dataset_url, is_remote, link_day_folders, table_url
from streaming.storage.retry import RetryPolicy
from streaming.storage.s3 import options_with_few_retries
from streaming.storage.store_errors import Result, call_with_retry

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable, PostCommitHookProperties, Transaction
    from deltalake.transaction import AddAction

# The transaction of this app records that a table holds all that the table it sums holds. A table that was made after
# the other one had rows lacks those rows until then.
COMPLETE_APP = "missioncontrol whole"
REPLACED_APP = "missioncontrol replaced"  # its transaction's number counts how often rows of a table were replaced


class TableWriter:
    """Appends to one table of a dataset; keeps it open between appends. The table is made if it does not exist.

    Raises MissionControlError when the dataset cannot be written.
    """

    def __init__(
        self,
        dataset: str,
        table: contract.Table,
        retry_policy: RetryPolicy = RetryPolicy(),  # noqa: B008 (immutable)
        done_batches: Mapping[str, int] | None = None,
    ) -> None:
        """retry_policy: how long to retry when a store does not answer; at most half a minute at the start.

        done_batches: by app, the last batch that is known to be done; commits of later batches that a power cut damaged
        are set aside. None: nothing is set aside.
        """
        self.table = table
        self.url = table_url(dataset, table)
        self._retry_policy = retry_policy
        self._files = None if is_remote(self.url) else TableFiles(Path(self.url))
        if self._files and done_batches is not None:
            set_aside_damage(self.url, table, {COMPLETE_APP: -1, **done_batches}, retry_policy.notify)
        self._delta = call_with_retry(self._create, self.url, retry_policy, at_start=True)
        sync_tables([self])
        self._seen_version = -1
        self._data_up_to = ""

    def append(
        self,
        rows: "pa.Table | list[AddAction]",
        batch: int,
        app: str,
        data_up_to: datetime | None = None,
        also: tuple[str, ...] = (),
    ) -> bool:
        """Append the rows of a batch, unless the table has them already; True when they were appended now.

        rows: of contract.schema(table), or files of such rows that are in the table's folder already; batch: counts up
        from 0 for an app; app: the name of the writer, unique among all writers ever; data_up_to: the newest submission
        behind the rows, UTC; also: further names under which the transaction is recorded. Safe to repeat, and beside
        other writers. A power cut may undo the append until sync_tables has returned.
        """
        from deltalake import Transaction

        others = [Transaction(name, batch) for name in also]
        return self._call_with_retry(lambda again: self._append(again, rows, batch, app, data_up_to, others))

    def replace(
        self,
        compute_rows: "Callable[[DeltaTable], pa.Table | None]",
        where: str,
        batch: int,
        app: str,
        metadata: Mapping[str, str],
        mark_app: str,
    ) -> bool:
        """Replace the rows that match a condition, in one commit; True when the rows were replaced, now or before.

        compute_rows: returns the new rows, of contract.schema(table), from the table's current state, or None to
        change nothing; called again where matching rows were appended in the meantime. batch, app: as for append.
        metadata: of the commit; its DATA_UP_TO is the table's, where the table records one. mark_app: a further
        transaction, which gets the same number as that of REPLACED_APP, one more than before. A MissionControlError
        that compute_rows raises is passed on.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake

        def attempt(_: bool) -> bool:
            self._delta = self._open()
            known = self._delta.transaction_version(app)
            if known is not None and known >= batch:
                return True
            rows = compute_rows(self._delta)
            if rows is None:
                return False
            commit_metadata, up_to = dict(metadata), recorded_data_up_to(self._delta)
            if up_to is not None:
                commit_metadata[contract.DATA_UP_TO] = up_to
            replaced = self._delta.transaction_version(REPLACED_APP)
            number = 0 if replaced is None else replaced + 1
            transactions = [Transaction(app, batch), Transaction(REPLACED_APP, number), Transaction(mark_app, number)]
            properties = CommitProperties(custom_metadata=commit_metadata, app_transactions=transactions)
            rows = fitted(rows, self._delta)
            link_day_folders(self.url, rows[PARTITION].unique().to_pylist())
            with commit_time_limit():
                write_deltalake(
                    self._delta,
                    rows,
                    mode="overwrite",
                    predicate=where,
                    commit_properties=properties,
                    post_commithook_properties=self._after_commit,
                )
            return True

        is_done = self._call_with_retry(attempt)
        sync_tables([self])
        return is_done

    def declare_products(self, declared: Sequence[contract.Product]) -> contract.Products:
        """Store declared products in this table, which must be stored_products.TABLE; returns all known products.

        Raises MissionControlError where one takes the name or the pings of a product of the package.
        """

        def attempt(again: bool) -> contract.Products:
            if again:
                self._delta = self._open()
            if declared:
                store_products(self._delta, declared, repeat_data_up_to, self._after_commit)
            return known_products(self._delta)

        known = self._call_with_retry(attempt)
        if declared:
            sync_tables([self])
        return known

    def transaction(self, app: str) -> int | None:
        """The last batch that an app committed; None when it never committed one."""

        def ask(again: bool) -> int | None:
            if again:
                self._delta = self._open()
            return self._delta.transaction_version(app)

        return self._call_with_retry(ask)

    def _call_with_retry(self, attempt: Callable[[bool], Result]) -> Result:
        try:
            return call_with_retry(attempt, self.url, self._retry_policy)
        except SlowCommitError:  # its transaction shows whether the commit took effect
            return self._call_with_retry(lambda _: attempt(True))

    def fill_from(self, fine: "TableWriter", apps: Sequence[str]) -> None:
        """Appends, once, the sums of all rows of the fine table; also records the last batches of some apps there."""
        from deltalake import Transaction

        sums = as_found(fine.table, fine._delta).sums
        rows = fine.query(sum_query(replace(self.table, sums=sums)))
        known = {app: fine.transaction(app) for app in apps}
        also = [Transaction(app, batch) for app, batch in known.items() if batch is not None]

        def attempt(_: bool) -> bool:
            self._delta = self._open()
            # Adds measures that only a newer version knows.
            add_missing(rows.schema, self._delta, repeat_data_up_to, self._after_commit)
            return self._append(False, rows, 0, COMPLETE_APP, None, also)

        self._call_with_retry(attempt)
        sync_tables([self])

    def unsynced(self) -> Unsynced:
        """The local files of this table that a power cut may still damage; empty for a table in an object store."""
        return self._files.unsynced(self._delta.version()) if self._files else Unsynced()

    def note_synced(self) -> None:
        """Notes that all files from unsynced are durable: commits of the log that they replace can be deleted."""
        if self._files and self._files.note_synced(self._delta.version()):
            with suppress(Exception):  # maintenance may do so at this moment; the next checkpoint repeats it
                self._delta.cleanup_metadata()

    @property
    def is_complete(self) -> bool:
        """Whether a table that sums another one holds all that the other one holds."""
        return self.transaction(COMPLETE_APP) is not None

    def query(self, query: str) -> "pa.Table":
        """The rows of an SQL query of the table, which the query calls `data`, as the table has them."""
        import pyarrow as pa
        from deltalake import QueryBuilder

        def ask(again: bool) -> "pa.Table":
            if again:
                self._delta = self._open()
            link_day_folders(self.url)
            return pa.table(QueryBuilder().register("data", self._delta).execute(query).read_all())

        return self._call_with_retry(ask)

    def _append(
        self,
        again: bool,
        rows: "pa.Table | list[AddAction]",
        batch: int,
        app: str,
        data_up_to: datetime | None,
        also: "list[Transaction]",
    ) -> bool:
        from deltalake import CommitProperties, Transaction, write_deltalake

        if again:
            self._delta = self._open()
        known = self._delta.transaction_version(app)
        if known is not None and known >= batch:
            return False
        newest = self._newest(data_up_to) if self.table is contract.ERROR_AGGREGATES else ""
        metadata = {contract.DATA_UP_TO: newest} if newest else None
        transactions = [Transaction(app, batch), *also]
        properties = CommitProperties(custom_metadata=metadata, app_transactions=transactions)
        before = self._delta.version()
        with commit_time_limit():
            if isinstance(rows, list):
                self._delta.create_write_transaction(
                    [*rows],
                    "append",
                    schema_of(self._delta),
                    ["submission_date"],
                    commit_properties=properties,
                    post_commithook_properties=self._after_commit,
                )
            else:
                link_day_folders(self.url, rows[PARTITION].unique().to_pylist())
                write_deltalake(
                    self._delta,
                    fitted(rows, self._delta),
                    mode="append",
                    commit_properties=properties,
                    post_commithook_properties=self._after_commit,
                )
        is_next = self._delta.version() == before + 1  # else others committed, perhaps a newer submission
        self._seen_version, self._data_up_to = self._delta.version() if is_next else -1, newest
        return True

    def _newest(self, data_up_to: datetime | None) -> str:
        """The later of a time and the newest submission that the table records, as text that sorts by time.

        "" where neither is known. Each commit records it, because older commits are deleted.
        """
        if self._delta.version() != self._seen_version:
            self._data_up_to = max(self._data_up_to, recorded_data_up_to(self._delta) or "")
        return max(self._data_up_to, data_up_to.isoformat(timespec="microseconds") if data_up_to else "")

    @property
    def _after_commit(self) -> "PostCommitHookProperties | None":
        return after_commit(self.url)

    def _open(self) -> "DeltaTable":
        """The table at its newest commit; measures that were declared since it was made are added."""
        delta = open_table(self.url, options_with_few_retries(self.url))
        check_ours(delta, self.url, self.table)
        as_found(self.table, delta)  # raises where a key is missing: its value in existing rows is unknown
        add_missing(contract.schema(self.table), delta, repeat_data_up_to, self._after_commit)
        return delta

    def _create(self, again: bool) -> "DeltaTable":
        from deltalake import DeltaTable

        options = options_with_few_retries(self.url)
        if self._files:
            make_folder(Path(self.url))
        if is_remote(self.url) or not has_log(self.url):
            if self._files:
                make_folder(Path(self.url, "_delta_log"))
            open_table(
                self.url,
                options,
                lambda path: DeltaTable.create(
                    path,
                    contract.schema(self.table),
                    mode="ignore",
                    partition_by=[PARTITION],
                    name=self.table.name,
                    configuration=properties_of(self.table),
                    storage_options=options,
                ),
            )
        return self._open()


def sync_tables(writers: Sequence[TableWriter]) -> None:
    """Make the commits to tables survive a power cut. Raises OSError where a disk fails."""
    sync_all(writer.unsynced() for writer in writers)
    for writer in writers:
        writer.note_synced()


def set_aside_damage(
    url: str, table: contract.Table, done_batches: Mapping[str, int], notify: Callable[[str | None], None]
) -> None:
    """Sets aside commits that a power cut has damaged in the log of a local table, and reports them."""
    set_aside = set_aside_damaged_commits(Path(url), table.name, done_batches)
    if set_aside:
        names = ", ".join(path.name for path in set_aside)
        notify(f"{url}: the newest commits were damaged, as by a power cut, and are set aside in _delta_log as {names}")


def open_writers(
    dataset: str,
    retry_policy: RetryPolicy = RetryPolicy(),  # noqa: B008 (immutable)
    apps: Sequence[str] = (),
    done_batches: Mapping[str, int] | None = None,
) -> list[TableWriter]:
    """A writer for each table of a dataset, in the order of contract.TABLES; tables that do not exist are made.

    A table that sums another one is first filled with what the other one already holds. Code that appends to one must
    append to both, so open writers with this function. apps: those whose last batch may be repeated; the rows summed
    now include it. done_batches: as for TableWriter. Raises MissionControlError when the dataset cannot be written.
    """
    url = dataset_url(dataset)
    call_with_retry(lambda _: check_complete(url, options_with_few_retries(url)), url, retry_policy, at_start=True)
    writers = {table: TableWriter(dataset, table, retry_policy, done_batches) for table in contract.TABLES}
    for table, writer in writers.items():
        if table.of is not None and not writer.is_complete:
            writer.fill_from(writers[table.of], apps)
    return list(writers.values())


def append(
    dataset: str,
    table: contract.Table,
    rows: "pa.Table",
    batch: int,
    app: str,
    data_up_to: datetime | None = None,
) -> bool:
    """Append once, as TableWriter.append does; for callers that write a single batch."""
    return TableWriter(dataset, table).append(rows, batch, app, data_up_to)
