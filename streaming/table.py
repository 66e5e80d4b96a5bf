"""The Delta tables of a dataset: where they are, and appends that land exactly once however often they are repeated.

A replay is safe: a commit carries its batch's number as a transaction of its writer, and a batch whose number the table
knows already is left out. Delta does not see to that by itself: a transaction only fences against commits made after
the snapshot of the handle that writes. Hence the order in `TableWriter.append`: look and write with one handle, and on
any failure, a lost reply to a commit that succeeded among them, begin again with a new one.
"""

import os
import random
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from streaming import contract
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

ATTEMPTS = 8
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_COMMITS_TO_LOOK_BACK = 50
CREDENTIALS = (  # any lets an S3 client find keys; without, it asks the cloud's metadata address and hangs
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_FORCE_CREDENTIAL_LOAD",
    "AWS_SKIP_SIGNATURE",
)
_CREDENTIAL_FILES = ("~/.aws/credentials", "~/.aws/config")
_FINAL = (  # what a failure says that another attempt will not mend
    "Permission denied",
    "Not a directory",
    "Read-only",
    "os error 13",
    "os error 20",
    "403 Forbidden",
    "NoSuchBucket",
)
_COLOURS = re.compile("\\x1b\\[[0-9;]*m")
_LONGEST_REASON = 500
_Result = TypeVar("_Result")


def is_remote(url: str) -> bool:
    """Whether a dataset or a source is somewhere else than in this machine's files."""
    return "://" in url and not url.startswith("file://")


def normal_url(url: str | Path) -> str:
    """One spelling for one place: an absolute path for local ones, no slash at the end."""
    text = str(url)
    if is_remote(text):
        return text.rstrip("/")
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    return os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111 (Path would resolve no `..`)


def table_url(dataset: str, table: contract.Table) -> str:
    """Where a table of a dataset is."""
    return f"{normal_url(dataset)}/{table.name}"


def is_s3(url: str) -> bool:
    """Whether a dataset or a source is in a bucket."""
    return url.startswith(("s3://", "s3a://"))


def check_credentials(url: str, options: Mapping[str, str] | None = None) -> None:
    """Raises MissionControlError at once where an S3 client would look for keys in vain.

    options: what deltalake is told beyond the environment, such as `AWS_ACCESS_KEY_ID`.
    """
    if is_s3(url) and _told(options).isdisjoint(CREDENTIALS) and not _has_profile(options):
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
    endpoints = [value for key, value in needed.items() if "endpoint" in key.lower()]
    if (endpoints or [os.environ.get("AWS_ENDPOINT_URL", "")])[0].startswith("http://"):
        needed.setdefault("AWS_ALLOW_HTTP", "true")
    if _told(options).isdisjoint(CREDENTIALS) and _has_profile(options):
        needed["AWS_FORCE_CREDENTIAL_LOAD"] = "true"
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


class TableWriter:
    """Appends to one table of a dataset; keeps it open between appends. The table is made when it is not there.

    Raises MissionControlError when the dataset cannot be written.
    """

    def __init__(self, dataset: str, table: contract.Table) -> None:
        self.table = table
        self.url = table_url(dataset, table)
        self._delta = _persist(self._create, self.url)
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
        other writers.
        """
        return _persist(lambda again: self._append(again, rows, batch, app, data_up_to, also), self.url)

    def transaction(self, app: str) -> int | None:
        """The last batch that an app committed, None when it never did."""
        return self._delta.transaction_version(app)

    def _append(
        self,
        again: bool,
        rows: "pa.Table | list[AddAction]",
        batch: int,
        app: str,
        data_up_to: datetime | None,
        also: tuple[str, ...],
    ) -> bool:
        from deltalake import CommitProperties, Transaction, write_deltalake

        if again:
            self._delta = self._open()
        known = self._delta.transaction_version(app)
        if known is not None and known >= batch:
            return False
        metadata = {} if data_up_to is None else {contract.DATA_UP_TO: self._newest(data_up_to)}
        transactions = [Transaction(name, batch) for name in (app, *also)]
        properties = CommitProperties(custom_metadata=metadata or None, app_transactions=transactions)
        schema = contract.schema(self.table)
        if isinstance(rows, list):
            self._delta.create_write_transaction(
                [*rows], "append", schema, ["submission_date"], commit_properties=properties
            )
        else:
            write_deltalake(self._delta, rows.cast(schema), mode="append", commit_properties=properties)
        self._seen_version = self._delta.version()
        self._data_up_to = metadata.get(contract.DATA_UP_TO, self._data_up_to)
        return True

    def _newest(self, data_up_to: datetime) -> str:
        """The later of a moment and what the table says already, as text whose order is that of time."""
        if self._delta.version() != self._seen_version:
            said = [commit.get(contract.DATA_UP_TO) or "" for commit in self._delta.history(_COMMITS_TO_LOOK_BACK)]
            self._data_up_to = max([self._data_up_to, *said])
        return max(self._data_up_to, data_up_to.isoformat(timespec="microseconds"))

    def _open(self) -> "DeltaTable":
        from deltalake import DeltaTable

        return DeltaTable(self.url, storage_options=storage_options(self.url))

    def _create(self, again: bool) -> "DeltaTable":
        from deltalake import DeltaTable

        options = storage_options(self.url)
        if options is not None or not Path(self.url, "_delta_log").is_dir():
            DeltaTable.create(
                self.url,
                contract.schema(self.table),
                mode="ignore",
                partition_by=["submission_date"],
                name=self.table.name,
                storage_options=options,
            )
        return self._open()


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


def _persist(attempt: Callable[[bool], _Result], url: str) -> _Result:
    """Try again after any failure, with a pause that grows; attempt is told whether it is not the first.

    Raises MissionControlError with the last failure.
    """
    pause = _FIRST_PAUSE_SECONDS
    for number in range(1, ATTEMPTS + 1):
        try:
            return attempt(number > 1)
        except Exception as error:  # deltalake raises what it likes; a bug shows after the last attempt
            if number == ATTEMPTS or _is_final(error):
                raise MissionControlError(f"cannot write to {url!r}: {reason_of(error)}") from error
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def reason_of(error: Exception) -> str:
    """What deltalake says in many coloured lines, in one; of an S3 server's answer, its code and its message."""
    lines = [line.strip(" \t↳") for line in _COLOURS.sub("", str(error) or repr(error)).splitlines()]
    text = " ".join(filter(None, lines))
    said = re.search("<Code>(.*?)</Code>(?:.*?<Message>(.*?)</Message>)?", text)
    return ": ".join(filter(None, said.groups())) if said else text[:_LONGEST_REASON]


def _is_final(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, PermissionError | NotADirectoryError | TypeError) or any(sign in text for sign in _FINAL)
