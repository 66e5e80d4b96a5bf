"""Maintenance of a dataset beside its stream: few files, no more history than wanted, a short log.

Each step is one commit that is correct at any moment. The rows of a time span are summed again by an overwrite of
exactly that span. Delta accepts the overwrite when nothing was added to the span since its rows were read, and refuses
it otherwise, so a row that arrives in the meantime is neither lost nor counted twice. Spans grow with age: windows of
the current hour, then hours, then days, so each row is written only a few times in all. Compaction does not only help
readers: a commit takes 0.1 ms for each file that its table has, and 0.01 ms for each commit that its log still has.

Maintenance removes only files that the table's log named, and only from a table whose metadata identify it as ours.
Killed writers leave files that no commit names. Such files are counted and reported, and a person removes them.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache

from streaming import contract
from streaming.dataset.compaction import (
    ORPHANS_EVERY,
    MaintainSettings,
    MaintenanceReport,
    TableMaintainer,
    newest_day,
    size_of,
    translate_delta_errors,
)
from streaming.dataset.compaction_plan import DataFile, due_spans
from streaming.dataset.opening import DamagedLogError, check_folder, is_there, no_dataset
from streaming.errors import MissionControlError
from streaming.storage.locations import dataset_url, table_url
from streaming.storage.s3 import check_credentials, storage_options

ROUND_SECONDS = 60.0


def maintain(
    dataset: str,
    settings: MaintainSettings | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    stop: threading.Event | None = None,
    finds_orphans: bool = True,
    on_progress: Callable[[str, int, int], None] = lambda table, done, total: None,
    on_table: Callable[[MaintenanceReport], None] = lambda done: None,
) -> list[MaintenanceReport]:
    """Maintain all tables of a dataset once. Safe at any moment, beside streams and other maintenance.

    on_progress: called with a table, the number of its finished spans and the number of all its spans; on_table: called
    with what was done to each table, as soon as it is done; stop: ends maintenance after the current span;
    finds_orphans: also counts files that no commit ever named, and shortens the log. Raises MissionControlError where
    there is no dataset, and, after the other tables are maintained, where a table cannot be maintained or is not ours.
    """
    settings, stop = settings or MaintainSettings(), stop or threading.Event()
    if settings.keep_coarse_days is not None and settings.keep_coarse_days < (settings.keep_days or math.inf):
        raise MissionControlError(
            "expected --keep-coarse-days with --keep-days, and not fewer: an overview shows what the coarse table has; "
            f"got {settings.keep_coarse_days} and {settings.keep_days or 'none'}"
        )
    dataset = dataset_url(dataset)
    check_credentials(dataset)
    check_folder(dataset)
    maintainers, failures = _maintainers(dataset)
    if not maintainers and not failures:
        raise no_dataset(dataset)
    done: list[MaintenanceReport] = []
    newest = cache(lambda: newest_day(maintainers[0], now()))
    for maintainer in maintainers:
        if stop.is_set():
            break
        try:
            with translate_delta_errors(maintainer.url):
                done.append(
                    _MaintenanceRound(maintainer, settings, now(), newest, stop, on_progress).run(finds_orphans)
                )
        except MissionControlError as error:
            failures.append(str(error))
        else:
            on_table(done[-1])
    if failures:
        raise MissionControlError("; ".join(failures))
    return done


def _maintainers(dataset: str) -> "tuple[list[TableMaintainer], list[str]]":
    """A maintainer for each table that exists, and the reasons why other tables cannot be maintained."""
    maintainers: list[TableMaintainer] = []
    failures: list[str] = []
    for table in contract.TABLES:
        try:
            if _is_there(dataset, table):
                maintainers.append(TableMaintainer(dataset, table))
        except DamagedLogError as error:
            failures.append(str(error))
    return maintainers, failures


def _is_there(dataset: str, table: contract.Table) -> bool:
    url = table_url(dataset, table)
    with translate_delta_errors(url):
        return is_there(dataset, table, storage_options(url))


def follow(
    dataset: str,
    settings: MaintainSettings | None = None,
    *,
    stop: threading.Event,
    every_seconds: float = ROUND_SECONDS,
    on_table: Callable[[MaintenanceReport], None] = lambda done: None,
    on_failure: Callable[[str], None] = lambda notice: None,
    begins_at_once: bool = False,
) -> None:
    """Maintain a dataset repeatedly until stop is set. A failure is reported once, and maintenance is tried again.

    on_table: as for maintain.
    """
    orphans_at, last_failure = time.monotonic(), ""
    wait = 0.0 if begins_at_once else every_seconds
    while not stop.wait(wait):
        wait = every_seconds
        finds_orphans = time.monotonic() >= orphans_at
        try:
            maintain(dataset, settings, stop=stop, finds_orphans=finds_orphans, on_table=on_table)
        except MissionControlError as error:
            if str(error) != last_failure:
                on_failure(f"maintenance failed and will be tried again: {error}")
            last_failure = str(error)
        else:
            last_failure = ""
        if finds_orphans:
            orphans_at += ORPHANS_EVERY.total_seconds()


class _MaintenanceRound:
    """One round of maintenance of one table."""

    def __init__(
        self,
        maintainer: TableMaintainer,
        settings: MaintainSettings,
        now: datetime,
        newest: Callable[[], date],
        stop: threading.Event,
        on_progress: Callable[[str, int, int], None],
    ) -> None:
        self._maintainer, self._settings, self._now, self._newest, self._stop = maintainer, settings, now, newest, stop
        self._table, self._on_progress = maintainer.table, on_progress

    def run(self, finds_orphans: bool) -> MaintenanceReport:
        """Drops old days, sums spans again, removes files that are no longer needed."""
        began = time.monotonic()
        retention_hours = self._maintainer.shorten_log(self._settings.keep_removed_hours)
        files = self._maintainer.files()
        report = MaintenanceReport(self._table.name, size_of(files), size_of(files))
        report.days = self._drop_days(files)
        spans = due_spans([file for file in files if file.day not in report.days], self._now, self._table.step)
        for number, span in enumerate(spans):
            if self._stop.is_set():
                break
            self._on_progress(self._table.name, number, len(spans))
            report.spans += self._maintainer.compact(span)
        if spans:
            self._on_progress(self._table.name, len(spans), len(spans))
        report.removed_files = self._maintainer.vacuum(retention_hours)
        if finds_orphans:
            report.unnamed = self._maintainer.orphan_files(self._now)
            self._maintainer.clean_log()
        report.after, report.seconds = size_of(self._maintainer.files()), time.monotonic() - began
        return report

    def _drop_days(self, files: Sequence[DataFile]) -> list[date]:
        """Removes days that are too old, counted from the newest day; returns them."""
        kept_days = self._settings.keep_coarse_days if self._table.of else self._settings.keep_days
        if kept_days is None or not files:
            return []
        first = self._newest() - timedelta(days=kept_days - 1)
        days = sorted({file.day for file in files if file.day < first})
        if days:
            self._maintainer.drop_before(first)
        return days
