"""The job and its backfill on a dataset that exists when a measure is declared."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from missioncontrol_nb.commands.backfill import _as_text
from streaming import contract
from streaming.dataset import maintenance
from streaming.errors import MissionControlError
from streaming.job.aggregate import aggregate
from streaming.job.backfill import backfill
from streaming.job.backfill_settings import BackfillSettings
from streaming.job.settings import AggregateSettings
from tests.other_version import NEWER, OLDER, run
from tests.plain_loop import plain_sums
from tests.spark.small_pings import dataset_sums, write_pings
from tests.unit.keyed_crashes import a_ping, sums

DAY = date(2017, 10, 2)
ANYWAY = BackfillSettings(unfinished=True)  # a day that the dataset ends in


def test_job_and_backfill_go_on_with_a_dataset_of_an_older_version(spark: SparkSession, tmp_path: Path) -> None:
    dataset, live, archive = (tmp_path / name for name in ("data", "live", "archive"))
    before, after = ([a_ping(minute, gpu=2, plugin=1) for minute in span] for span in (range(10), range(20, 30)))
    run(OLDER, f"append({str(dataset)!r}, 'older', {[[ping] for ping in before]!r})")
    for folder, documents in ((live, after), (archive, before + after)):
        folder.mkdir()
        write_pings(folder, "a.jsonl", documents)
    aggregate(str(live), str(dataset), spark=spark, settings=AggregateSettings(checkpoint=str(tmp_path / "state")))
    assert sums(dataset, "count", "gpu_crashes", "plugin_crashes") == (20, 20, 20)
    write_pings(live, "b.jsonl", [a_ping(31, gpu=5)])
    aggregate(
        str(live), str(dataset), spark=spark,
        settings=AggregateSettings(checkpoint=str(tmp_path / "state"), write_from="workers"),
    )  # fmt: skip
    assert sums(dataset, "count", "gpu_crashes", "plugin_crashes") == (21, 25, 20)

    write_pings(archive, "b.jsonl", [a_ping(31, gpu=5)])
    days = (str(archive), str(dataset), DAY, DAY)
    changes = backfill(*days, spark=spark, settings=BackfillSettings(unfinished=True, dry_run=True))
    assert "pings 21 as before, usage hours 21.00 as before, gpu crashes 25 -> 45" in _as_text(changes, dry_run=True)
    assert sums(dataset, "gpu_crashes") == (25,)
    backfill(*days, spark=spark, settings=ANYWAY)
    everything = [*before, *after, a_ping(31, gpu=5)]
    assert dataset_sums(dataset) == plain_sums((document, 0) for document in everything)
    assert not any(change.is_changed for change in backfill(*days, spark=spark, settings=ANYWAY)), (
        "the second time nothing"
    )

    run(NEWER, f"append({str(dataset)!r}, 'newer', {[[a_ping(50, extension=3)]]!r})")
    with pytest.raises(MissionControlError, match="holds counts of 'extension_crashes' where submission_date = DATE"):
        backfill(*days, spark=spark, settings=ANYWAY)
    write_pings(live, "c.jsonl", [a_ping(51, gpu=1, extension=9)])
    aggregate(str(live), str(dataset), spark=spark, settings=AggregateSettings(checkpoint=str(tmp_path / "state")))
    maintenance.maintain(str(dataset), now=lambda: datetime(2017, 10, 5, tzinfo=UTC))
    for table in (contract.ERROR_AGGREGATES, contract.COARSE_AGGREGATES):
        assert sums(dataset, "count", "gpu_crashes", "extension_crashes", table=table) == (23, 46, 3)
