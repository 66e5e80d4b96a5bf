"""Opening the tables of a dataset: which exist, whether they are ours, which file of a damaged log is at fault."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from streaming import contract
from streaming.errors import MissionControlError
from streaming.storage.locations import (
    dataset_url,
    delta_path,
    is_remote,
    link_day_folders,
    normal_url,
    table_url,
    with_real_paths,
)
from streaming.storage.s3 import options_with_few_retries

if TYPE_CHECKING:
    from deltalake import DeltaTable

PARTITION = "submission_date"
_COMMIT = re.compile(r"\d{20}\.json")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint.*\.parquet")
_PARQUET_ENDS = b"PAR1"
_MIN_COMMIT_BYTES = 100  # a commit with any content is not smaller
_HISTORY_STEPS = (10, 100, None)  # commits to look back; None: all
_CLOCKS_DIFFER_BY = timedelta(days=1)  # a time further in the future is not a time of submission
_Result = TypeVar("_Result")


class DamagedLogError(MissionControlError):
    """A file of a table's log is not what Delta writes."""


@contextmanager
def _without_panic() -> Iterator[None]:
    """Turns a panic of Delta's Rust code, which is not a subclass of Exception, into a DeltaError."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DeltaError(f"the Delta library gave up: {error}") from error


def open_table(
    url: str, options: Mapping[str, str] | None, make: "Callable[[str], DeltaTable] | None" = None
) -> "DeltaTable":
    """The table at a URL as `table_url` gives it, at its newest commit.

    make: opens or makes the table; without it, an existing table is opened. Raises deltalake's errors where the table
    cannot be read, and DamagedLogError where a file of its log is the cause.
    """
    from deltalake import DeltaTable

    try:
        with _without_panic():
            path = delta_path(url)
            delta = make(path) if make else DeltaTable(path, storage_options=dict(options) if options else None)
    except Exception as error:
        damage = damage_of(url)
        if damage is None:
            raise
        raise DamagedLogError(damage) from error
    _check_commits(url)
    link_day_folders(url)
    return delta


def _check_commits(url: str) -> None:
    """Raises DamagedLogError where a commit in use is empty, which deltalake takes for a commit without content.

    In use are the newest commit and those after the newest checkpoint.
    """
    if is_remote(url):
        return  # objects in a store are never incomplete
    newest_checkpoint = max((path.name[:20] for path in _log_files(url, _CHECKPOINT)), default="")
    commits = _log_files(url, _COMMIT)
    for number, commit in enumerate(commits, 1):
        is_small = commit.name[:20] > newest_checkpoint and _size_of(commit) < _MIN_COMMIT_BYTES
        if (is_small or number == len(commits)) and (damage := _fault_of_commit(commit)):
            raise DamagedLogError(_damage_message(url, commit, damage))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # maintenance has just deleted it
        return _MIN_COMMIT_BYTES


def damage_of(url: str) -> str | None:
    """A sentence that names the damaged file of a local table's log; None where no file is damaged."""
    if is_remote(url):
        return None
    try:
        for commit in reversed(_log_files(url, _COMMIT)):
            if damage := _fault_of_commit(commit):
                return _damage_message(url, commit, damage)
        for checkpoint in reversed(_log_files(url, _CHECKPOINT)):
            if damage := _fault_of_checkpoint(checkpoint):
                return _damage_message(url, checkpoint, damage)
        return _fault_of_hint(url)
    except OSError:  # such as a lack of permission: the caller reports its own error
        return None


def _log_files(url: str, pattern: re.Pattern[str]) -> list[Path]:
    folder = Path(url, "_delta_log")
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name)) if folder.is_dir() else []


def _fault_of_commit(path: Path) -> str:
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    except FileNotFoundError:  # maintenance has just deleted it
        return ""
    if not lines:
        return "is empty"
    for line in (lines[0], lines[-1]):
        try:
            action = json.loads(line)
            if not isinstance(action, dict) or not action:
                return "is not what Delta writes"
        except (ValueError, RecursionError):
            return "is cut short" if line.startswith(b"{") else "is not what Delta writes"
    return ""


def _fault_of_checkpoint(path: Path) -> str:
    try:
        with path.open("rb") as file:
            begins, size = file.read(4), file.seek(0, 2)
            file.seek(max(size - 4, 0))
            ends = file.read(4)
    except FileNotFoundError:
        return ""
    if not size:
        return "is empty"
    return "" if begins == ends == _PARQUET_ENDS and size > 12 else "is cut short or no Parquet file"


def _fault_of_hint(url: str) -> str | None:
    """A sentence where _last_checkpoint names a checkpoint that does not exist; None otherwise."""
    hint = Path(url, "_delta_log", "_last_checkpoint")
    if not hint.is_file():
        return None
    try:
        version = int(json.loads(hint.read_text())["version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # Delta continues without the hint
    if any(path.name.startswith(f"{version:020}.") for path in _log_files(url, _CHECKPOINT)):
        return None
    return _damage_message(url, hint, f"names a checkpoint that is not there, of version {version}")


def _damage_message(url: str, path: Path, fault: str) -> str:
    return (
        f"the log of the table {with_real_paths(url)!r} is damaged: {path.name} {fault}. Restore that file from a copy "
        "of the dataset; the guide says what to do without one ('When a log is damaged')"
    )


def is_there(dataset: str, table: contract.Table, options: Mapping[str, str] | None = None) -> bool:
    """Whether a dataset has a table. options: deltalake's storage options. Raises as has_log or deltalake does."""
    from deltalake import DeltaTable

    url = table_url(dataset, table)
    if not is_remote(url):
        return has_log(url)
    with _without_panic():
        return DeltaTable.is_deltatable(url, storage_options=dict(options) if options else None)


def check_complete(dataset: str, options: Mapping[str, str] | None = None) -> None:
    """Raises DamagedLogError where a dataset has tables, but lacks the one that is made first and sums all pings.

    options: deltalake's storage options. Raises MissionControlError where `dataset` is itself one of the tables, and
    what deltalake raises.
    """
    _check_no_table(dataset)
    first, *others = contract.TABLES
    if is_there(dataset, first, options):
        return
    left = [table.name for table in others if is_there(dataset, table, options)]
    if left and not is_there(dataset, first, options):  # checked again: all tables may just have been made
        raise DamagedLogError(
            f"the table {table_url(dataset, first)!r} is gone, while {', '.join(left)} of the same dataset are there: "
            "restore it from a copy of the dataset, or name another dataset"
        )


def has_log(url: str) -> bool:
    """Whether a table on this machine has a commit, or had one (a checkpoint remains).

    Raises DamagedLogError where there are rows without a log: the log is made before the rows, so it was lost.
    """
    if _has_log(url):
        return True
    if next(Path(url).glob(f"{PARTITION}=*/*.parquet"), None) is None or _has_log(url):  # the log may be new
        return False
    raise DamagedLogError(
        f"the table {url!r} holds rows, and its log is gone: _delta_log has no commit. Restore that folder from a copy "
        "of the dataset; the guide says what to do without one ('When a log is damaged')"
    )


def _has_log(url: str) -> bool:
    return bool(_log_files(url, _COMMIT) or _log_files(url, _CHECKPOINT))


def check_folder(dataset: str) -> None:
    """Raises MissionControlError where a dataset on this machine is not a folder, or is itself one of the tables."""
    url = dataset_url(dataset)
    if is_remote(url):
        return
    folder = Path(url)
    if not folder.is_dir():
        found = "that is a file" if folder.exists() else "no such folder"
        raise MissionControlError(f"there is no dataset at {url}: {found}")
    _check_no_table(url)


def _check_no_table(url: str) -> None:
    if not is_remote(url) and Path(url, "_delta_log").is_dir():
        raise MissionControlError(f"{url} is one table; give the dataset's folder, {Path(url).parent}")


def no_dataset(dataset: str) -> MissionControlError:
    """The error for a folder, or a location in a bucket, without any of a dataset's tables."""
    names = ", ".join(table.name for table in contract.TABLES)
    return MissionControlError(
        f"there is no dataset at {dataset}: it holds none of a dataset's tables ({names}); "
        "missioncontrol aggregate makes them"
    )


def check_columns(delta: "DeltaTable", url: str, table: contract.Table) -> None:
    """Raises MissionControlError for a table that lacks our keys or has other column types: it is not ours."""
    from deltalake import Schema

    has = {field.name: _kind(field.type) for field in delta.schema().fields}
    wants = {field.name: _kind(field.type) for field in Schema.from_arrow(contract.schema(table)).fields}
    for name, kind in wants.items():
        if name not in has and name in table.keys and name not in contract.ADDED_DIMENSIONS:
            raise _foreign(url, f"it lacks the column {name!r}")
        if name in has and has[name] != kind:
            raise _foreign(url, f"its column {name!r} is of the type {has[name]}, not {kind}")


def _kind(delta_type: object) -> str:
    """Delta's name of a column's type."""
    return str(getattr(delta_type, "type", delta_type))


def check_ours(delta: "DeltaTable", url: str, table: contract.Table) -> None:
    """Raises MissionControlError for a table whose metadata or columns do not identify it as ours.

    Nothing is written to such a table or removed from it.
    """
    metadata = delta.metadata()
    if metadata.name != table.name:
        raise _foreign(url, f"its name is {metadata.name!r}, not {table.name!r}")
    if list(metadata.partition_columns) != [PARTITION]:
        raise _foreign(url, f"it is partitioned by {list(metadata.partition_columns)!r}, not by {PARTITION!r}")
    check_columns(delta, url, table)


def _foreign(url: str, why: str) -> MissionControlError:
    return MissionControlError(
        f"the Delta table at {url!r} is not one of Mission Control's: {why}. It was left as it is; name another dataset"
    )


def recorded_data_up_to(delta: "DeltaTable") -> str | None:
    """The newest submission that a table's newest commits record, ISO 8601, UTC; not every commit records one.

    A value that is not a time, or lies in the future, is ignored: this project never writes such a value.
    """
    for limit in _HISTORY_STEPS:
        commits = _history(delta, normal_url(delta.table_uri), limit)
        recorded = [moment for commit in commits if (moment := _moment(commit.get(contract.DATA_UP_TO)))]
        if recorded:
            return max(recorded)
    return None


def _history(delta: "DeltaTable", url: str, limit: int | None) -> list[dict[str, Any]]:
    """The metadata of the newest commits, newest first, including commits older than a checkpoint.

    Raises DamagedLogError where one of these commits is damaged.
    """
    try:
        with _without_panic():
            return delta.history(limit)
    except Exception as error:
        damage = damage_of(url)
        if damage is None:
            raise
        raise DamagedLogError(damage) from error


def _moment(text: object) -> str | None:
    """A time as text that sorts by time; None for a value that is not a time or lies in the future."""
    try:
        moment = datetime.fromisoformat(str(text))
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="microseconds") if moment <= datetime.now(UTC) + _CLOCKS_DIFFER_BY else None


def last_write(delta: "DeltaTable", url: str) -> datetime:
    """When the newest commit was made, by its timestamp. Raises MissionControlError where it has no valid one."""
    timestamp = next(iter(_history(delta, url, 1)), {}).get("timestamp")
    try:
        return datetime.fromtimestamp(int(timestamp) / 1000, UTC)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        raise MissionControlError(
            f"the newest commit of the table {url!r} does not say when it was made: it has {timestamp!r} "
            "as its timestamp"
        ) from None


def open_all(dataset: str) -> "dict[str, DeltaTable | None]":
    """The tables of a dataset by name; None for a table that does not exist."""
    check_complete(dataset, options_with_few_retries(dataset))
    return {table.name: open_one(dataset, table) for table in contract.TABLES}


def open_one(dataset: str, table: contract.Table) -> "DeltaTable | None":
    """A table of a dataset; None where it does not exist."""
    from deltalake.exceptions import TableNotFoundError

    url = table_url(dataset, table)
    if not is_remote(url) and not has_log(url):
        return None
    try:
        delta = open_table(url, options_with_few_retries(url))
    except TableNotFoundError:
        return None
    check_ours(delta, url, table)
    return delta
