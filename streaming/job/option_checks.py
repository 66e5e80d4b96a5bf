"""Checks of a job's settings: settings that have no effect on its source, or without --follow, are refused."""

import math
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from streaming.errors import MissionControlError

if TYPE_CHECKING:
    from streaming.job.settings import AggregateSettings

MAX_TRIGGER_SECONDS = 86_400
BATCH_BYTES_LIMIT = 1 << 40
MAX_ONCE_DAYS = 3650


class Setting(NamedTuple):
    """A setting that only some jobs use. option: its name on the command line; field: in AggregateSettings."""

    option: str
    field: str
    default: object


TOPIC_SETTINGS = (
    Setting("--starting-offsets", "topic.starting_offsets", "earliest"),
    Setting("--kafka-config", "topic.config", {}),
    Setting("--on-data-loss", "topic.on_data_loss", "fail"),
)
FOLLOW_SETTINGS = (
    Setting("--trigger", "trigger_seconds", 1.0),
    Setting("--no-maintain", "maintains", True),
)


def check_settings(settings: "AggregateSettings", source: str, is_topic: bool) -> None:
    """Raises MissionControlError where a setting has no effect on this job, or is invalid for every job."""
    for setting in () if is_topic else TOPIC_SETTINGS:
        if _is_given(settings, setting):
            raise MissionControlError(
                f"{setting.option} has no effect on files, only on a topic, kafka://...: leave it out; got {source!r}"
            )
    for setting in () if settings.follow else FOLLOW_SETTINGS:
        if _is_given(settings, setting):
            raise MissionControlError(f"{setting.option} has no effect without --follow: leave it out")
    trigger, most = settings.trigger_seconds, settings.max_batch_bytes
    if not (math.isfinite(trigger) and 0 <= trigger <= MAX_TRIGGER_SECONDS):
        raise MissionControlError(f"expected a trigger of 0 to {MAX_TRIGGER_SECONDS:,} seconds; got {trigger!r}")
    if most is not None and not 1 <= most <= BATCH_BYTES_LIMIT:
        raise MissionControlError(f"expected micro-batches of 1 to {BATCH_BYTES_LIMIT:,} bytes; got {most!r}")
    if not 0 <= settings.once_days <= MAX_ONCE_DAYS:
        raise MissionControlError(f"expected once_days of 0 to {MAX_ONCE_DAYS:,}; got {settings.once_days!r}")
    if settings.write_from not in ("driver", "workers"):
        raise MissionControlError(f"expected write_from as 'driver' or 'workers'; got {settings.write_from!r}")


def _is_given(settings: "AggregateSettings", setting: Setting) -> bool:
    return attrgetter(setting.field)(settings) != setting.default
