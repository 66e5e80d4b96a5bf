"""One look at a dataset, in a process of its own: its memory is given back, and it can be ended at any moment."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from missioncontrol_nb.watching.changes import Look, Up
from missioncontrol_nb.watching.state import Finding, Words
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    from missioncontrol_nb.judgement import Event
    from missioncontrol_nb.judgement.series import Series
    from missioncontrol_nb.loading.dataset import Dataset
    from streaming import contract

COMMAND = (sys.executable, "-P", "-m", "missioncontrol_nb.watching.looking")
LONGEST_SECONDS = 900.0
_LONGEST_REASON = 600  # characters


class Request(msgspec.Struct):
    """What to look at. at: None is as of the newest data; now: what the data's age is counted from.

    measures: only these, empty: all; looks_bad: whether also what looks bad is up; known: the alarms that were up at
    the last look, as the judge's records; releases: the source of the release calendar.
    """

    dataset: str
    product: str
    now: datetime
    stale_after_seconds: float
    at: datetime | None = None
    channel: str | None = None
    os_name: str | None = None
    measures: tuple[str, ...] = ()
    releases: str | None = None
    all_builds: bool = False
    looks_bad: bool = False
    known: list[dict[str, Any]] = []


class LookStoppedError(Exception):
    """The look was given up because the watch ends."""


def look(request: Request, stop: threading.Event) -> Look:
    """What a process finds that looks once.

    Raises MissionControlError where it fails, and LookStoppedError where stop is set.
    """
    try:
        process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise MissionControlError(f"no process can be started to look: {error.strerror}") from error
    give_up = time.monotonic() + LONGEST_SECONDS
    asked: bytes | None = msgspec.json.encode(request)
    try:
        while True:
            try:
                found, said = process.communicate(asked, timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                asked = None  # is under way
                if stop.is_set():
                    raise LookStoppedError from None
                if time.monotonic() > give_up:
                    raise MissionControlError(
                        f"the look took more than {LONGEST_SECONDS:.0f} s and was ended"
                    ) from None
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if stop.is_set():
        raise LookStoppedError
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"the look ended with exit code {process.returncode}"
        raise MissionControlError(reason[:_LONGEST_REASON])
    return msgspec.json.decode(found, type=Look)


def look_here(request: Request) -> Look:
    """What a look finds. Raises MissionControlError where there is no dataset, and for unknown names."""
    from missioncontrol_nb.loading.dataset import Dataset
    from streaming.dataset.opening import no_dataset

    dataset = Dataset(request.dataset)
    if not dataset.tables():
        raise no_dataset(dataset.url)
    up_to = dataset.data_up_to()
    known_then = up_to if up_to is None or request.at is None else min(up_to, request.at)
    if known_then is None:
        is_stale = request.at is None
    else:
        is_stale = (request.at or request.now) - known_then > timedelta(seconds=request.stale_after_seconds)
    product = dataset.products.named(request.product)
    for measure in request.measures:
        if measure not in product.measures:
            raise _unknown_measure(measure, product)
    return Look(known_then, True) if is_stale else _judged(request, dataset, product, known_then)


def _unknown_measure(measure: str, product: "contract.Product") -> MissionControlError:
    """The error for a measure that a product does not have."""
    from streaming.errors import unknown_name

    return unknown_name("measure", measure, product.measures)


def _judged(request: Request, dataset: "Dataset", product: "contract.Product", up_to: datetime | None) -> Look:
    from missioncontrol_nb.judgement import OpenAlarm, changes_since

    known = [OpenAlarm.of_record(record) for record in request.known]
    changes = changes_since(
        dataset,
        known,
        request.at,
        product=request.product,
        channel=request.channel,
        os_name=request.os_name,
        releases=request.releases,
        all_builds=request.all_builds,
    )
    finding = _finder(product)

    def is_wanted(found: Finding) -> bool:
        return not request.measures or found.event["measure"] in request.measures

    events = [found for found in map(finding, changes.events) if is_wanted(found)]
    up = [Up(finding(alarm.event), alarm.as_record()) for alarm in changes.open]
    if request.looks_bad:
        keys = {each.finding.key for each in up}
        suspects = [finding(_as_event(series)) for series in changes.series if series.state == "looks bad"]
        up += [Up(found) for found in suspects if found.key not in keys]
    return Look(up_to, False, events, [each for each in up if is_wanted(each.finding)])


def _as_event(series: "Series") -> "Event":
    """A series that looks bad in the form of an event."""
    from missioncontrol_nb.judgement import Event

    return Event(
        "looks bad", series.at, series.application, series.channel, series.os_name, series.measure,
        series.display_version, tuple(series.build_ids), series.rate_ratio, series.lower, series.upper, series.evidence,
        series.expected_rate, series.rate, dict(series.slice), series.since,
    )  # fmt: skip


def _finder(product: "contract.Product") -> "Callable[[Event], Finding]":
    """What turns the judge's events into findings."""
    from missioncontrol_nb.dashboard.messages import measure_words
    from missioncontrol_nb.dashboard.query import default_of
    from missioncontrol_nb.judgement.observations import are_builds

    def finding(event: "Event") -> Finding:
        parts = [event.application, event.channel, event.os_name, event.measure, event.display_version or "*"]
        if event.display_version is not None and are_builds(product, event.channel):
            parts += event.build_ids[:1]
        page = default_of(product).link(
            view="detail", channel=event.channel, os_name=event.os_name, measure=event.measure
        )
        words = Words(
            product.label,
            product.channel(event.channel).in_sentence,
            product.platform(event.os_name).label,
            measure_words(event.measure),
        )
        return Finding("|".join(parts), event.as_record(), words, page)

    return finding


def main() -> None:
    """Looks at what standard input asks for, and writes what it found to standard output."""
    from missioncontrol_nb.failures import sentence_of

    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    threading.Thread(target=_end_with_asker, args=(os.getppid(),), daemon=True).start()
    try:
        found = look_here(request)
    except Exception as error:  # the watch tells the sentence, and looks again
        print(sentence_of(error), file=sys.stderr)
        sys.exit(1)
    sys.stdout.buffer.write(msgspec.json.encode(found))


def _end_with_asker(asker: int) -> None:
    while os.getppid() == asker:
        time.sleep(0.5)
    with suppress(OSError):
        os._exit(1)


def now_utc() -> datetime:
    """The current moment, UTC."""
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
