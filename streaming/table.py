"""The Delta tables of a dataset: where they are, and appends that land exactly once however often they are repeated.

A replay is safe: a commit carries its batch's number as a transaction of its writer, and a batch whose number the table
knows already is left out. Delta does not see to that by itself: a transaction only fences against commits made after
the snapshot of the handle that writes. Hence the order in `TableWriter.append`: look and write with one handle, and on
any failure, a lost reply to a commit that succeeded among them, begin again with a new one.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from streaming import contract
from streaming.columns import add_missing, as_found, fitted, schema_of
from streaming.durability import TableFiles, Unsynced, make_folder, set_aside_damaged_commits, sync_all
from streaming.errors import MissionControlError
from streaming.opening import PARTITION, check_ours, check_whole, has_log, open_table
from streaming.opening import reason_of as reason_of
from streaming.opening import said_up_to as said_up_to
from streaming.patience import CONFLICT, START_SECONDS, Patience
from streaming.places import dataset_url as dataset_url
from streaming.places import is_remote as is_remote
from streaming.places import is_s3 as is_s3
from streaming.places import normal_url as normal_url
from streaming.places import show_days
from streaming.places import table_url as table_url
from streaming.sums import sum_query

if TYPE_CHECKING:
    import pyarrow as pa
    from botocore.session import Session
    from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
    from deltalake.transaction import AddAction

# Whose transaction says that a table holds all that the table it sums does: one that was made after that table had
# rows lacks them until then.
WHOLE_APP = "missioncontrol whole"
REPLACED_APP = "missioncontrol replaced"  # whose transaction says how often rows of a table were replaced
ATTEMPTS = 8  # at what need not pass
LOG_MINUTES = 10  # how long commits are kept one by one; each commit lists those that are
LONGEST_COMMIT_SECONDS = LOG_MINUTES * 60 / 4
CREDENTIALS = (  # any lets an S3 client find keys; without, it asks the cloud's metadata address and hangs
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_FORCE_CREDENTIAL_LOAD",
    "AWS_SKIP_SIGNATURE",
)
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
_ENDPOINT_OPTIONS = ("endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url", "aws_endpoint_url_s3")
DEFAULT_REGION = "us-east-1"  # as deltalake has it where there is no profile
_CREDENTIAL_FILES = ("~/.aws/credentials", "~/.aws/config")
_FINAL = (  # what a failure says that another attempt will not mend
    "Permission denied",
    "Not a directory",
    "Read-only",
    "os error 13",
    "os error 20",
    "<Code>AccessDenied</Code>",
    "NoSuchBucket",
)
_FINAL_AT_START = (*_FINAL, "403 Forbidden", "400 Bad Request", "301 Moved")  # later, keys may have been exchanged
_AWAY = re.compile(r"HTTP error|timed out|429 Too Many|\b5\d\d [A-Z]")  # what deltalake says of a store that is
_PASSES = re.compile(rf"{_AWAY.pattern}|{CONFLICT.pattern}")
_RETRIES = {"max_retries": "3", "retry_timeout": "15s"}  # of deltalake's, as many as patience can do without
_CLOCKS = (getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC), time.CLOCK_REALTIME)
_Result = TypeVar("_Result")


def use_endpoint(url: str) -> None:
    """Sends all S3 clients of this process, and of those it starts, to a store that is not Amazon's.

    Raises MissionControlError where it is no URL.
    """
    _check_endpoint("--endpoint-url", url, "https?://[^/?#]+/?")
    os.environ["AWS_ENDPOINT_URL"] = url
    os.environ.pop("AWS_ENDPOINT_URL_S3", None)


def _check_endpoint(name: str, url: str, form: str = "https?://.+") -> None:
    """Raises MissionControlError for an endpoint that no S3 client can use. name: of the setting; form: of the URL."""
    try:
        parts = urlsplit(url)
        is_usable = bool(re.fullmatch(form, url) and parts.hostname and not re.search(r"\s", url) and parts.port != 0)
    except ValueError:  # a port that is no number, or too large; a bracket without the other
        is_usable = False
    if not is_usable:
        raise MissionControlError(
            f"expected {name} as a URL such as https://s3.example.org or http://127.0.0.1:9000, the port from 1 to "
            f"65535; got {url!r}"
        )


def pass_on_settings(environment: dict[str, str]) -> None:
    """Makes what another process's environment says to S3 clients what this one's says."""
    for name in [name for name in environment if name.startswith("AWS_")]:
        del environment[name]
    environment.update({name: value for name, value in os.environ.items() if name.startswith("AWS_")})


def check_credentials(url: str, options: Mapping[str, str] | None = None) -> None:
    """Raises MissionControlError at once where an S3 client would look for keys in vain, or cannot use an endpoint.

    options: what deltalake is told beyond the environment, such as `AWS_ACCESS_KEY_ID`.
    """
    if not is_s3(url):
        return
    endpoints = {name: os.environ.get(name) for name in _ENDPOINTS}
    endpoints |= {name: value for name, value in (options or {}).items() if name.lower() in _ENDPOINT_OPTIONS}
    for name, value in endpoints.items():
        if value:
            _check_endpoint(name, value)
    told = _told(options)
    if "AWS_ACCESS_KEY_ID" in told and "AWS_SECRET_ACCESS_KEY" not in told:
        raise MissionControlError(f"half of the credentials for {url!r}: set AWS_SECRET_ACCESS_KEY too")
    if told.isdisjoint(CREDENTIALS) and not (_has_profile(options) and _profile_has_keys(url, options)):
        raise MissionControlError(
            f"no credentials for {url!r}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL "
            "unless it is Amazon's), or AWS_PROFILE; on a machine with a role, AWS_FORCE_CREDENTIAL_LOAD=true"
        )


def storage_options(url: str, options: Mapping[str, str] | None = None) -> dict[str, str] | None:
    """The options that deltalake needs for a URL: those given, and what it takes from neither them nor the environment.

    None for a local path without any. An endpoint of http:// must be allowed, a profile must be asked for.
    """
    needed = {key: str(value) for key, value in (options or {}).items()}
    if not is_s3(url):
        return needed or None
    told = _told(options)
    if "AWS_ENDPOINT_URL" not in told and os.environ.get("AWS_ENDPOINT_URL_S3"):
        needed["AWS_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL_S3"]
    if told.isdisjoint(CREDENTIALS) and _has_profile(options):
        needed["AWS_FORCE_CREDENTIAL_LOAD"] = "true"
        needed = _said_by_profile(options) | needed
    endpoints = [value for key, value in needed.items() if "endpoint" in key.lower()]
    if (endpoints or [os.environ.get("AWS_ENDPOINT_URL", "")])[0].startswith("http://"):
        needed.setdefault("AWS_ALLOW_HTTP", "true")
    return needed


def _told(options: Mapping[str, str] | None) -> set[str]:
    """The names of all settings, as the environment spells them; those that are empty are none."""
    given = {name.upper() for name, value in (options or {}).items() if value}
    prefixed = {name if name.startswith("AWS_") else f"AWS_{name}" for name in given}
    return prefixed | {name for name, value in os.environ.items() if value}


def _has_profile(options: Mapping[str, str] | None) -> bool:
    """Whether a profile is named, or there is a file that may hold one."""
    files = (os.environ.get("AWS_SHARED_CREDENTIALS_FILE"), *_CREDENTIAL_FILES)
    return "AWS_PROFILE" in _told(options) or any(Path(name).expanduser().is_file() for name in files if name)


def _profile(options: Mapping[str, str] | None) -> "Session":
    """The session of the profile that is named or the default one."""
    from botocore.session import Session

    names = [value for name, value in (options or {}).items() if name.upper() == "AWS_PROFILE"]
    return Session(profile=names[0] if names else None)


def _profile_has_keys(url: str, options: Mapping[str, str] | None) -> bool:
    """Whether a profile leads to keys: its own, or those of its `credential_process`, which runs for that.

    Raises MissionControlError where something is wrong with it.
    """
    from botocore.exceptions import BotoCoreError

    try:
        chain = _profile(options).get_component("credential_provider")
        chain.remove("iam-role")  # the cloud's metadata address
        return chain.load_credentials() is not None
    except (BotoCoreError, OSError, ValueError) as error:
        raise MissionControlError(f"no credentials for {url!r}: {reason_of(error)}") from error


def _said_by_profile(options: Mapping[str, str] | None) -> dict[str, str]:
    """What deltalake does not read in a profile by itself and nobody has told it."""
    told, profile = _told(options), _profile(options)
    said = {}
    if told.isdisjoint(("AWS_REGION", "AWS_DEFAULT_REGION")):  # else it asks the cloud's metadata address
        said["AWS_REGION"] = profile.get_config_variable("region") or DEFAULT_REGION
    if told.isdisjoint(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")):
        said["AWS_ENDPOINT_URL"] = profile.get_scoped_config().get("endpoint_url")
    return {name: value for name, value in said.items() if value}


class TableWriter:
    """Appends to one table of a dataset; keeps it open between appends. The table is made when it is not there.

    Raises MissionControlError when the dataset cannot be written.
    """

    def __init__(
        self,
        dataset: str,
        table: contract.Table,
        patience: Patience = Patience(),  # noqa: B008 (immutable)
        relied: Mapping[str, int] | None = None,
    ) -> None:
        """patience: with a store that does not answer; half a minute of it at the start.

        relied: by app, the last batch that is known to be done: damaged commits of later ones are set aside, as a power
        cut leaves them. None: nothing is set aside.
        """
        self.table = table
        self.url = table_url(dataset, table)
        self._patience = patience
        self._files = None if is_remote(self.url) else TableFiles(Path(self.url))
        if self._files and relied is not None:
            set_aside_damage(self.url, table, {WHOLE_APP: -1, **relied}, patience.tell)
        self._delta = persist(self._create, self.url, patience, at_start=True)
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
        """Append the rows of a batch, unless the table has them; True when they were appended now.

        rows: of contract.schema(table), or files of such rows that are in the table's folder already; batch: counts up
        from 0 for an app; app: who writes, unique among all writers of all times; data_up_to: the newest submission
        behind the rows, UTC; also: further names that the transaction is entered under. Safe to repeat, and beside
        other writers. A power cut may take it back until sync_tables has returned.
        """
        from deltalake import Transaction

        others = [Transaction(name, batch) for name in also]
        return self._persist(lambda again: self._append(again, rows, batch, app, data_up_to, others))

    def replace(
        self,
        remake: "Callable[[DeltaTable], pa.Table | None]",
        where: str,
        batch: int,
        app: str,
        metadata: Mapping[str, str],
        mark: str,
    ) -> bool:
        """Replace the rows that a condition matches, in one commit; True when that was done, now or before.

        remake: gives the new rows from the table as it is, of contract.schema(table), or None to leave all as it is;
        called again where matching rows were appended meanwhile. batch, app: as append takes them. metadata: of the
        commit; how far data go is that of the table, where it says so. mark: a further transaction, whose number will
        be that of REPLACED_APP, one more than before. What remake raises as MissionControlError is passed on.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake

        def attempt(_: bool) -> bool:
            self._delta = self._open()
            known = self._delta.transaction_version(app)
            if known is not None and known >= batch:
                return True
            rows = remake(self._delta)
            if rows is None:
                return False
            said, up_to = dict(metadata), said_up_to(self._delta)
            if up_to is not None:
                said[contract.DATA_UP_TO] = up_to
            replaced = self._delta.transaction_version(REPLACED_APP)
            number = 0 if replaced is None else replaced + 1
            transactions = [Transaction(app, batch), Transaction(REPLACED_APP, number), Transaction(mark, number)]
            properties = CommitProperties(custom_metadata=said, app_transactions=transactions)
            rows = fitted(rows, self._delta)
            show_days(self.url, rows[PARTITION].unique().to_pylist())
            with _in_time():
                write_deltalake(
                    self._delta,
                    rows,
                    mode="overwrite",
                    predicate=where,
                    commit_properties=properties,
                    post_commithook_properties=self._after_commit,
                )
            return True

        is_done = self._persist(attempt)
        sync_tables([self])
        return is_done

    def transaction(self, app: str) -> int | None:
        """The last batch that an app committed, None when it never did."""

        def ask(again: bool) -> int | None:
            if again:
                self._delta = self._open()
            return self._delta.transaction_version(app)

        return self._persist(ask)

    def _persist(self, attempt: Callable[[bool], _Result]) -> _Result:
        try:
            return persist(attempt, self.url, self._patience)
        except _HaltedError:  # its transaction tells whether it landed
            return self._persist(lambda _: attempt(True))

    def make_whole(self, fine: "TableWriter", apps: Sequence[str]) -> None:
        """Appends what the table that this one sums holds, once; with the last batches of some apps there."""
        from deltalake import Transaction

        sums = as_found(fine.table, fine._delta).sums
        rows = fine.query(sum_query(replace(self.table, sums=sums)))
        known = {app: fine.transaction(app) for app in apps}
        also = [Transaction(app, batch) for app, batch in known.items() if batch is not None]

        def attempt(_: bool) -> bool:
            self._delta = self._open()
            # Measures that only a newer version knows.
            add_missing(rows.schema, self._delta, said_again, self._after_commit)
            return self._append(False, rows, 0, WHOLE_APP, None, also)

        self._persist(attempt)
        sync_tables([self])

    def unsynced(self) -> Unsynced:
        """What a power cut may still take back of this table, local files; nothing where it is in an object store."""
        return self._files.unsynced(self._delta.version()) if self._files else Unsynced()

    def note_synced(self) -> None:
        """All that unsynced returned is durable: what it replaces in the log can be forgotten."""
        if self._files and self._files.note_synced(self._delta.version()):
            with suppress(Exception):  # maintenance may do so at this moment; the next checkpoint comes anyway
                self._delta.cleanup_metadata()

    @property
    def is_whole(self) -> bool:
        """Whether a table that sums another one holds all that it does."""
        return self.transaction(WHOLE_APP) is not None

    def query(self, query: str) -> "pa.Table":
        """The rows of an SQL query of the table, named `data` there, as the table has them."""
        import pyarrow as pa
        from deltalake import QueryBuilder

        def ask(again: bool) -> "pa.Table":
            if again:
                self._delta = self._open()
            show_days(self.url)
            return pa.table(QueryBuilder().register("data", self._delta).execute(query).read_all())

        return self._persist(ask)

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
        with _in_time():
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
                show_days(self.url, rows[PARTITION].unique().to_pylist())
                write_deltalake(
                    self._delta,
                    fitted(rows, self._delta),
                    mode="append",
                    commit_properties=properties,
                    post_commithook_properties=self._after_commit,
                )
        is_next = self._delta.version() == before + 1  # else others committed meanwhile, and may know better
        self._seen_version, self._data_up_to = self._delta.version() if is_next else -1, newest
        return True

    def _newest(self, data_up_to: datetime | None) -> str:
        """The later of a moment and what the table says already, as text whose order is that of time; "" for neither.

        Each commit says it, for others are forgotten.
        """
        if self._delta.version() != self._seen_version:
            self._data_up_to = max(self._data_up_to, said_up_to(self._delta) or "")
        return max(self._data_up_to, data_up_to.isoformat(timespec="microseconds") if data_up_to else "")

    @property
    def _after_commit(self) -> "PostCommitHookProperties | None":
        return after_commit(self.url)

    def _open(self) -> "DeltaTable":
        """The table as its newest commit has it, with all measures: those declared since it was made are added."""
        delta = open_table(self.url, brisk_options(self.url))
        check_ours(delta, self.url, self.table)
        as_found(self.table, delta)  # which raises where a key is missing: of the rows so far nobody knows its value
        add_missing(contract.schema(self.table), delta, said_again, self._after_commit)
        return delta

    def _create(self, again: bool) -> "DeltaTable":
        from deltalake import DeltaTable

        options = brisk_options(self.url)
        if self._files:
            make_folder(Path(self.url))
        if is_remote(self.url) or not has_log(self.url):
            if self._files:
                make_folder(Path(self.url, "_delta_log"))
            open_table(
                self.url,
                options,
                lambda place: DeltaTable.create(
                    place,
                    contract.schema(self.table),
                    mode="ignore",
                    partition_by=[PARTITION],
                    name=self.table.name,
                    configuration=properties_of(self.table),
                    storage_options=options,
                ),
            )
        return self._open()


def after_commit(url: str) -> "PostCommitHookProperties | None":
    """What deltalake does after a commit: of a local table it leaves the log's old commits where they are.

    It would delete them before the checkpoint that replaces them is durable.
    """
    from deltalake import PostCommitHookProperties

    return None if is_remote(url) else PostCommitHookProperties(cleanup_expired_logs=False)


def sync_tables(writers: Sequence[TableWriter]) -> None:
    """Make what was committed to tables survive a power cut. Raises OSError where a disk fails."""
    sync_all(writer.unsynced() for writer in writers)
    for writer in writers:
        writer.note_synced()


def set_aside_damage(
    url: str, table: contract.Table, relied: Mapping[str, int], tell: Callable[[str | None], None]
) -> None:
    """Takes commits that a power cut has damaged out of the log of a local table, and says so."""
    set_aside = set_aside_damaged_commits(Path(url), table.name, relied)
    if set_aside:
        names = ", ".join(path.name for path in set_aside)
        tell(f"{url}: the newest commits were damaged, as by a power cut, and are set aside in _delta_log as {names}")


class _HaltedError(MissionControlError):
    """A commit may be one that nobody will ever see."""


@contextmanager
def _in_time() -> Iterator[None]:
    """Raises _HaltedError where a commit took so long that it may be one that nobody will ever see.

    A commit is a file of a name that must not be taken. While a process is halted between looking for the name and
    writing the file, others may take that name and forget it again with the log's old commits. One clock goes on while
    a machine sleeps, the other is set right after a virtual one was halted.
    """
    began = [time.clock_gettime(clock) for clock in _CLOCKS]
    yield
    took = max(time.clock_gettime(clock) - moment for clock, moment in zip(_CLOCKS, began, strict=True))
    if took > LONGEST_COMMIT_SECONDS:
        raise _HaltedError(f"a commit took {took:.0f} s")


def brisk_options(url: str) -> dict[str, str] | None:
    """storage_options for who is patient himself: deltalake's own attempts are few."""
    options = storage_options(url)
    return options if options is None else _RETRIES | options


def properties_of(table: contract.Table) -> dict[str, str]:
    """What Delta is told of a table. Statistics of other columns than the time help nobody, and cost each commit."""
    return {"delta.dataSkippingStatsColumns": table.time_column}


def said_again(delta: "DeltaTable") -> "CommitProperties | None":
    """The properties of a commit that adds no pings: the newest submission once more, where the table says one."""
    from deltalake import CommitProperties

    said = said_up_to(delta)
    return CommitProperties(custom_metadata={contract.DATA_UP_TO: said}) if said else None


def open_writers(
    dataset: str,
    patience: Patience = Patience(),  # noqa: B008 (immutable)
    apps: Sequence[str] = (),
    relied: Mapping[str, int] | None = None,
) -> list[TableWriter]:
    """A writer for each table of a dataset, in the order of contract.TABLES; those that are not there are made.

    A table that sums another one is made to hold what that one holds already. Who appends to one appends to both: begin
    here. apps: whose last batch may come again; what is summed now has it. relied: as TableWriter takes it. Raises
    MissionControlError when the dataset cannot be written.
    """
    url = dataset_url(dataset)
    persist(lambda _: check_whole(url, brisk_options(url)), url, patience, at_start=True)
    writers = {table: TableWriter(dataset, table, patience, relied) for table in contract.TABLES}
    for table, writer in writers.items():
        if table.of is not None and not writer.is_whole:
            writer.make_whole(writers[table.of], apps)
    return list(writers.values())


def append(
    dataset: str,
    table: contract.Table,
    rows: "pa.Table",
    batch: int,
    app: str,
    data_up_to: datetime | None = None,
) -> bool:
    """Append once, as TableWriter.append does: for who writes a single batch."""
    return TableWriter(dataset, table).append(rows, batch, app, data_up_to)


def persist(
    attempt: Callable[[bool], _Result], url: str, patience: Patience, *, at_start: bool = False, to: str = "write to"
) -> _Result:
    """Try again after a failure: a few times after any, and as long as patience lasts where that may pass.

    A store that does not answer may, and so may commits of others that come first: beside a job that appends several
    times a second, replacing a large day takes many attempts.

    attempt: told whether it is not the first; what it raises as MissionControlError is passed on. at_start: be less
    patient, and not at all with refused keys, which later may just have been exchanged. to: do what with url, for the
    MissionControlError that says the last failure.
    """
    final = _FINAL_AT_START if at_start else _FINAL
    patience = replace(patience, seconds=min(patience.seconds, START_SECONDS)) if at_start else patience

    def passes(error: Exception, number: int) -> bool:  # deltalake raises what it likes; a bug shows in the end
        if isinstance(error, MissionControlError | PermissionError | NotADirectoryError | TypeError):
            return False
        text = str(error)
        return not any(sign in text for sign in final) and (number < ATTEMPTS or bool(_PASSES.search(text)))

    try:
        return patience.bear(attempt, url, passes)
    except MissionControlError:
        raise
    except Exception as error:
        raise MissionControlError(f"cannot {to} {url!r}: {reason_of(error)}") from error
