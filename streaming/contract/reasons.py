"""Reasons for which a ping, or a file of pings, is not counted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streaming.contract.dimensions import DIMENSIONS


@dataclass(frozen=True)
class Reason:
    """A reason that one kind of ping adds. before: the general reason over which it takes precedence."""

    name: str
    text: str
    before: str = "application"


# In order of precedence: a ping with several faults is counted under the first of them in this order; of `wrong_type`
# and `too_long`, under the one whose value comes first in the ping. Reasons without a text here are those of
# dimensions.
_GENERAL = {
    "file_vanished": "The file was gone when it was to be read.",
    "file_unreadable": "The file could not be opened or read.",
    "file_corrupt": (
        "The compressed file is cut short or damaged, or inflates to more than 5,000 times its size; what stood before "
        "was counted."
    ),
    "messages_lost": "The message was gone from its topic before it was read, or the topic was made anew.",
    "empty": "The document or file is empty.",
    "too_large": "The document is larger than a ping can be (8 MiB).",
    "not_json": "The document is not JSON: cut short, NaN; or text that is read is not UTF-8 or has a lone surrogate.",
    "too_deep": "The document is nested deeper than any ping.",
    "not_an_object": "The document is JSON but not an object.",
    "sink_payload": "The payload in a sink's file is no base64, or it is gzip that is damaged or too large.",
    "document_type": "The document does not say what kind of ping it is, in a namespace and type of a known form.",
    "glean_without_envelope": "A Glean document without its envelope: it does not say what kind of ping it is.",
    "not_counted": "The ping is of a kind that is not counted, by its namespace and type.",
    "wrong_type": "A value that is read has another type than the ping's schema says (3600.0 is no whole number).",
    "too_long": "A name that is read is longer than 200 characters.",
    "other_product": "The application is none of the products that are counted (--product).",
    "submission_time": "The time of submission is no time, or not in this century.",
    "display_version": "",
    "version": "",
    "build_id": "",
    "count_negative": "A count is negative.",
    "count_absurd": "A count is above 90,000: more than one a second for the longest use that a ping can report.",
    "experiment": "An experiment's id or branch is not of a known form, or there are more than 100 of them.",
    "nothing_to_count": "The ping has no payload.",
    "background_task": "The crash is of a background task, not of a program that somebody used.",
    "process_type": "The crash is of a process whose crashes are not counted, or are counted from main pings.",
    "usage_missing": "The ping does not say for how long it was used.",
    "usage_negative": "The length of use is negative.",
    "use_time": "The start or the end of the use is not a time.",
    "application": "",
    "channel": "",
    "os_name": "",
    "os_version": "",
    "architecture": "",
    "build_in_future": "The build is newer than the ping's submission.",
    "build_too_old": "The build is more than six months older than the ping's submission.",
    "other_source": "The crashes of this version are counted from another kind of ping.",
    "duplicate": "The same ping was received up to an hour before; only where that is looked for (--dedupe).",
    "same_crash": "Another ping has reported the same crash, up to --once-days before.",
}
PASSED_OVER = frozenset(
    {"not_counted", "background_task", "process_type", "other_product", "other_source", "same_crash"}
)
"""The reasons for which a good ping does not count: it is passed over. For all others, a ping is rejected."""
_OF_NEW_DIMENSIONS = "build_in_future"  # reasons of new dimensions take precedence over it


def split_passed_over(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Counts by reason: those of rejected pings, and those of pings that were passed over."""
    passed = {reason: count for reason, count in counts.items() if reason in PASSED_OVER}
    return {reason: count for reason, count in counts.items() if reason not in PASSED_OVER}, passed


def reasons_with(more: Iterable[Reason]) -> dict[str, str]:
    """A sentence for each reason, in order of precedence: general reasons, those of dimensions, and more."""
    texts = dict(_GENERAL)
    of_dimensions = {each.name: each.reason for each in DIMENSIONS if each.reason}
    texts |= {name: text for name, text in of_dimensions.items() if name in texts}
    added = [Reason(name, text, _OF_NEW_DIMENSIONS) for name, text in of_dimensions.items() if name not in texts]
    for reason in (*added, *more):
        if reason.name in texts:
            raise ValueError(f"two reasons are called {reason.name!r}")
        at = list(texts).index(reason.before)
        items = list(texts.items())
        texts = dict([*items[:at], (reason.name, reason.text), *items[at:]])
    return texts
