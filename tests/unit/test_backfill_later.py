"""Days of another version counted anew; its source is counted here, without Spark."""

from datetime import date
from pathlib import Path

import pytest

from missioncontrol_nb.commands.backfill import _as_text
from streaming import backfill as module
from streaming.backfill import BackfillSettings, backfill
from streaming.errors import MissionControlError
from streaming.job import Summary
from tests.other_version import NEWER, OLDER, append, run
from tests.plain_loop import plain_sums
from tests.spark.small_pings import dataset_sums
from tests.unit.test_declared_later import a_ping, sums

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
    run(NEWER, f"append({str(dataset)!r}, 'newer', {[[a_ping(50, rdd=3)]]!r})")
    with pytest.raises(MissionControlError, match="holds counts of 'rdd_crashes' where submission_date = DATE"):
        backfill(str(archive), str(dataset), DAY, DAY, settings=BackfillSettings(unfinished=True, fewer=True))
    assert sums(dataset, "count", "rdd_crashes") == (22, 3)
