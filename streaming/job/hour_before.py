"""Reads the hour before a job's next micro-batch, only for the ids of its pings, where the job has not noted them.

The ids are missing where a job begins at a given time, where it ran without --dedupe before, and where its notes were
lost or are of an older version. With the ids of that hour noted, duplicates are found as if the job had read all
earlier pings.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streaming.aggregation.deduplication import FOLDER, SIGN, UNFINISHED_FOLDER, drop_duplicates, forget, leave_sign
from streaming.job.checkpoint import Checkpoint
from streaming.job.progress import position_of
from streaming.sources.kafka.data_source import PingTopic
from streaming.sources.kafka.source import TopicPlan
from streaming.storage.durability import sync_folder

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_POLL_SECONDS = 0.1


def note_hour_before(
    spark: "SparkSession",
    plan: TopicPlan,
    checkpoint: Checkpoint,
    options: Mapping[str, str],
    stop: threading.Event,
    say: Callable[[str], None],
) -> str:
    """Notes the ids of the hour before the next micro-batch, unless they are noted already.

    Returns the reason of a failure, "" where there is none. options: those that PingTopic takes besides the plan's.
    Interrupted when stop is set; the next call then starts from the beginning.
    """
    notes, unfinished = checkpoint.folder / FOLDER, checkpoint.folder / UNFINISHED_FOLDER
    if (notes / SIGN).is_file():
        return ""
    forget(checkpoint.folder)
    position = position_of(checkpoint.folder)
    assert position is not None
    found = plan.hour_before(position.finished, checkpoint.scratch / "hour_before.json")
    if found is not None:
        say("reading the hour before for duplicates of its pings")

        def note(partials: "DataFrame", number: int) -> None:
            drop_duplicates(partials, number, unfinished).write.format("noop").mode("overwrite").save()

        spark.dataSource.register(PingTopic)
        pings = spark.readStream.format(PingTopic.name()).options(**options, **found).load()
        stream = pings.writeStream.foreachBatch(note).trigger(availableNow=True)
        query = stream.option("checkpointLocation", str(checkpoint.scratch / "hour_before")).start()
        try:
            while not stop.wait(_POLL_SECONDS) and query.isActive:
                pass
            failure = str(query.exception() or "") if not query.isActive else ""
        finally:
            query.stop()
        if failure or stop.is_set():
            return failure
    leave_sign(unfinished)
    unfinished.rename(notes)
    sync_folder(checkpoint.folder)
    return ""
