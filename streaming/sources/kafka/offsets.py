"""The offsets at which micro-batches of a topic begin and end, in the form of Spark's checkpoint."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streaming.aggregation.receipt import RECEIVED
from streaming.sources.base import damaged, read_json


def as_json(offsets: Mapping[int, int]) -> dict[str, int]:
    """Offsets by partition in the form of a checkpoint."""
    return {str(partition): offset for partition, offset in sorted(offsets.items())}


def utc_now_ms() -> int:
    """The current time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


BROKERS = "brokers.json"  # where the topic was last reached, for requests from outside the job


def offsets_before(folder: Path, number: int) -> dict[str, Any]:
    """The offsets at which the micro-batch of a number begins, in the form of Spark's offsets."""
    path = folder / "spark" / "offsets" / str(number - 1)
    if number and path.is_file():
        try:
            return json.loads(path.read_text().splitlines()[-1])
        except (ValueError, IndexError, RecursionError) as error:
            raise damaged(path) from error
    return first_offsets(folder / "topic.json")


def first_offsets(path: Path) -> dict[str, Any]:
    """The offsets at which the first micro-batch begins, from `topic.json` in a checkpoint."""
    begins = read_json(path)
    try:
        time = {RECEIVED: begins[RECEIVED]} if RECEIVED in begins else {}
        return {"topic": begins["topic_id"], **begins["start"], **time}
    except (TypeError, KeyError) as error:
        raise damaged(path) from error


def by_partition(offsets: Mapping[str, Any]) -> dict[str, int]:
    """The offsets of partitions alone, from Spark's offsets."""
    return {partition: offset for partition, offset in offsets.items() if partition.isdigit()}


def brokers_note(folder: Path) -> Path:
    """The file in a checkpoint that records where the topic was last reached."""
    return folder / BROKERS
