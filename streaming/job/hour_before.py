"""Reads the hour before a job's next micro-batch, only for the ids of its pings, where the job has not noted them.

The ids are missing where a job begins at a given time, where it ran without --dedupe before, and where its seen ids
were lost or are of an older version. With the ids of that hour noted, duplicates are found as if the job had read all
earlier pings.
"""

import shutil
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streaming.aggregation.deduplication import (
    SEEN_IDS_FOLDER,
    TOKEN_FILE,
    UNFINISHED_SEEN_IDS_FOLDER,
    drop_duplicates,
    remove_seen_ids,
    write_token,
)
from streaming.job.checkpoint import Checkpoint
from streaming.job.progress import progress_of
from streaming.sources.kafka.data_source import PingTopic
from streaming.sources.kafka.source import TopicPlan
from streaming.storage.durability import sync_folder

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_POLL_SECONDS = 0.1


def record_hour_before(
    spark: "SparkSession",
    plan: TopicPlan,
    checkpoint: Checkpoint,
    options: Mapping[str, str],
    stop: threading.Event,
    notify: Callable[[str], None],
) -> str:
    """Notes the ids of the hour before the next micro-batch, unless they are noted already.

    Returns the reason of a failure, "" where there is none. options: those that PingTopic takes besides the plan's.
    Interrupted when stop is set; the next call then starts from the beginning.
    """
    seen_ids, unfinished_ids = checkpoint.folder / SEEN_IDS_FOLDER, checkpoint.folder / UNFINISHED_SEEN_IDS_FOLDER
    if (seen_ids / TOKEN_FILE).is_file():
        return ""
    remove_seen_ids(checkpoint.folder)
    spark_checkpoint = checkpoint.scratch / "hour_before"
    shutil.rmtree(spark_checkpoint, ignore_errors=True)  # of a call that failed, whose ids are removed
    progress = progress_of(checkpoint.folder)
    assert progress is not None
    found = plan.hour_before(progress.finished, checkpoint.scratch / "hour_before.json")
    if found is not None:
        notify("reading the hour before for duplicates of its pings")

        def record(partials: "DataFrame", number: int) -> None:
            drop_duplicates(partials, number, unfinished_ids).write.format("noop").mode("overwrite").save()

        spark.dataSource.register(PingTopic)
        pings = spark.readStream.format(PingTopic.name()).options(**options, **found).load()
        stream = pings.writeStream.foreachBatch(record).trigger(availableNow=True)
        query = stream.option("checkpointLocation", str(spark_checkpoint)).start()
        try:
            while not stop.wait(_POLL_SECONDS) and query.isActive:
                pass
            failure = str(query.exception() or "") if not query.isActive else ""
        finally:
            query.stop()
        if failure or stop.is_set():
            return failure
    write_token(unfinished_ids)
    unfinished_ids.rename(seen_ids)
    sync_folder(checkpoint.folder)
    return ""
