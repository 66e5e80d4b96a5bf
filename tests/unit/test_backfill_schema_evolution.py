"""Days of another version counted anew; its source is counted here, without Spark."""

from datetime import date
from pathlib import Path

import pytest

from missioncontrol_nb.commands.backfill import _as_text
from streaming.errors import MissionControlError
from streaming.job import backfill as module
from streaming.job.backfill import backfill
from streaming.job.backfill_settings import BackfillSettings
from streaming.job.settings import Batch, Summary
from tests.other_version import NEWER, OLDER, append, run
from tests.plain_loop import plain_sums
from tests.spark.small_pings import dataset_sums
from tests.unit.keyed_crashes import a_ping, sums

DAY = date(2017, 10, 2)


def test_backfill_counts_a_measure_for_days_before_it_was_declared_and_loses_none_of_a_newer_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, archive = tmp_path / "data", tmp_path / "archive"
    before = [a_ping(minute, gpu=2, plugin=1) for minute in range(10)]
    after = [a_ping(minute, gpu=2, plugin=1) for minute in range(5, 15)]
    zeros = [a_ping(55)]
    run(OLDER, f"append({str(dataset)!r}, 'older', {[[*before, *zeros]]!r})")
    archive.mkdir()
    (archive / "a.jsonl").write_bytes(b"\n".join([*before, *zeros, *after]))

    def count(only, counted, **options):
        append(counted, "counted", [(archive / "a.jsonl").read_bytes().splitlines()])
        return Summary(21, 21, {}, 0, 0, 0, 1)

    monkeypatch.setattr(module, "aggregate", count)
    dry = backfill(str(archive), str(dataset), DAY, DAY, settings=BackfillSettings(unfinished=True, dry_run=True))
    assert "pings 11 -> 21, usage hours 11.00 -> 21.00, gpu crashes 0 -> 40" in _as_text(dry, dry_run=True)
    append(str(dataset), "job", [after])
    assert sums(dataset, "count", "gpu_crashes", "plugin_crashes") == (21, 20, 20)
    anyway = BackfillSettings(unfinished=True)
    assert any(change.is_changed for change in backfill(str(archive), str(dataset), DAY, DAY, settings=anyway))
    assert dataset_sums(dataset) == plain_sums((document, 0) for document in [*before, *zeros, *after])
    assert not any(change.is_changed for change in backfill(str(archive), str(dataset), DAY, DAY, settings=anyway))
    run(NEWER, f"append({str(dataset)!r}, 'newer', {[[a_ping(50, extension=3)]]!r})")
    with pytest.raises(MissionControlError, match="holds counts of 'extension_crashes' where submission_date = DATE"):
        backfill(str(archive), str(dataset), DAY, DAY, settings=BackfillSettings(unfinished=True, fewer=True))
    assert sums(dataset, "count", "extension_crashes") == (22, 3)


def test_source_that_is_not_whole_is_refused_with_the_names_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_bytes(a_ping(0))
    lost = {str(tmp_path / f"{number}.jsonl"): {"file_unreadable": 1, "not_json": 1} for number in range(7)}

    def count(only, counted, *, on_batch, **options):
        for files in ({"/sound.jsonl": {"not_json": 3}}, lost):
            on_batch(Batch(0, len(files), 9, {}, files, 1, 1.0, 1.0, None))
        return Summary(9, 2, {"not_json": 10, "file_unreadable": 7}, 0, 0, 0, 2)

    monkeypatch.setattr(module, "aggregate", count)
    with pytest.raises(MissionControlError) as refused:
        backfill(str(tmp_path), str(tmp_path / "data"), DAY, DAY, settings=BackfillSettings(unfinished=True))
    names = ", ".join(f"'{tmp_path}/{number}.jsonl'" for number in range(5))
    assert str(refused.value) == (
        f"'{tmp_path}' is not whole, nothing was changed: file_unreadable 7. The file could not be opened or read. "
        f"Files: {names} and 2 more"
    )
