"""Reads the hour before a job's next micro-batch, only for the ids of its pings, where the job has not noted them.

The ids are missing where a job begins at a given time, where it ran without --dedupe before, and where its seen ids
were lost or are of an older version. With the ids of that hour noted, duplicates are found as if the job had read all
earlier pings.
"""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from streaming.aggregation.deduplication import (
    SEEN_IDS_FOLDER,
    TOKEN_FILE,
    UNFINISHED_SEEN_IDS_FOLDER,
    remove_seen_ids,
    write_token,
)
from streaming.job.checkpoint import Checkpoint
from streaming.job.progress import progress_of
from streaming.sources.kafka.source import TopicPlan
from streaming.storage.durability import sync_folder


def record_hour_before(
    plan: TopicPlan,
    checkpoint: Checkpoint,
    stop: threading.Event,
    notify: Callable[[str], None],
    note: Callable[[dict[str, str], Path, Path], str],
) -> str:
    """Notes the ids of the hour before the next micro-batch, unless they are noted already.

    Returns the reason of a failure, "" where there is none. note: streams with some options of PingTopic, keeps its
    records in a folder, notes ids in another one, and returns the reason of a failure. Interrupted when stop is set;
    the next call then starts from the beginning.
    """
    seen_ids, unfinished_ids = checkpoint.folder / SEEN_IDS_FOLDER, checkpoint.folder / UNFINISHED_SEEN_IDS_FOLDER
    if (seen_ids / TOKEN_FILE).is_file():
        return ""
    remove_seen_ids(checkpoint.folder)
    records = checkpoint.scratch / "hour_before"
    shutil.rmtree(records, ignore_errors=True)  # of a call that failed, whose ids are removed
    progress = progress_of(checkpoint.folder)
    assert progress is not None
    found = plan.hour_before(progress.finished, checkpoint.scratch / "hour_before.json")
    if found is not None:
        notify("reading the hour before for duplicates of its pings")
        failure = note(found, records, unfinished_ids)
        if failure or stop.is_set():
            return failure
    write_token(unfinished_ids)
    unfinished_ids.rename(seen_ids)
    sync_folder(checkpoint.folder)
    return ""
