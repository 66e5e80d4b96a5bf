"""The release calendar: the releases and their days, and which builds are official."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile

from missioncontrol_nb import arguments
from missioncontrol_nb.arguments import Time
from missioncontrol_nb.releases.versions import STAGES, major_of, version_key
from streaming import contract
from streaming.errors import MissionControlError, require_replaceable, shortened
from streaming.pings.validation import is_version

CALENDAR_NAME = "the release calendar"
# The longest time from a build to its release was 11 days (50.0, built 4 November 2016); a release candidate's first
# build is a few days older.
MAX_BUILD_LEAD = timedelta(days=14)
MAX_CALENDAR_DELAY = timedelta(days=7)
MAX_CYCLE = timedelta(weeks=10)
# From a merge to the first beta from it, or to the release that came with that beta, it was 17 days at most (merge on
# 11 May 2015, 39.0b1 on the 28th).
MAX_MERGE_DELAY = timedelta(weeks=3)


@dataclass(frozen=True)
class Release:
    """A display version that went out on a channel on a day."""

    version: str
    channel: str
    date: date


@dataclass(frozen=True)
class Calendar:
    """All releases of all channels of a product; a release is out from the start of its day, UTC."""

    releases: tuple[Release, ...]
    product: contract.Product = contract.FIREFOX

    @cached_property
    def _channels(self) -> dict[str, list[Release]]:
        newest_first = sorted(self.releases, key=lambda release: version_key(release.version), reverse=True)
        return {name: [r for r in newest_first if r.channel == name] for name in self.product.channel_names}

    @cached_property
    def _dates(self) -> dict[tuple[str, str], date]:
        return {(release.channel, release.version): release.date for release in self.releases}

    @cached_property
    def newest_date(self) -> date:
        """The newest day of the calendar on any channel; the calendar is known to be complete up to it."""
        return max((release.date for release in self.releases), default=date.min)

    def on(self, channel: str, at: Time = None) -> list[Release]:
        """The releases of a channel that are out at a moment (None: all in the calendar), highest version first."""
        arguments.choice("channel", channel, self.product.channel_names)
        if at is None:
            return list(self._channels[channel])
        day = _day(at)
        return [release for release in self._channels[channel] if release.date <= day]

    def newest(self, channel: str, at: Time = None) -> Release | None:
        """The highest version of a channel that is out at a moment; None before the first."""
        return next(iter(self.on(channel, at)), None)

    def previous(self, version: str, channel: str) -> Release | None:
        """The highest version below `version` that was out on the channel when `version` came out.

        A version that is not in the calendar counts as the newest one.
        """
        at, key = self.released(version, channel), version_key(version)
        return next((release for release in self.on(channel, at) if version_key(release.version) < key), None)

    def released(self, version: str, channel: str) -> date | None:
        """The day a display version went out on a channel; None where it is not in the calendar."""
        arguments.text("version", version)
        arguments.choice("channel", channel, self.product.channel_names)
        return self._dates.get((channel, _display(version, channel)))

    def has(self, display_version: str, channel: str) -> bool:
        """Whether a display version is in the calendar of a channel, or stands there for a version that is.

        For example `56.0` on beta stands for a release candidate, and `52.4.0` on esr for `52.4.0esr`.
        """
        for name, value in (("display_version", display_version), ("channel", channel)):
            arguments.instance(name, value, str, "text")
        return (channel, _display(display_version, channel)) in self._candidates

    def is_official(self, display_version: str, channel: str, build_id: str) -> bool:
        """Whether a build is Mozilla's own, as far as the calendar and the build's day show.

        The calendar has no build ids. A build is official if its version is in the calendar of its channel and it was
        made on the release day or in the 14 days before; distributions build the same version later. (A distribution
        that rebuilds within those days cannot be distinguished.) Further rules:

        - Release candidates reach the beta channel under their final version (56.0) and are in no calendar. They are
          official there if they are made in the same 14 days before the release. `56.0` is also official there in the
          time of one of its betas, because clients that report no display version report only the version.
        - A nightly is built during its whole cycle, so its builds are official from 14 days before its day in the
          calendar until a week after the day of the next nightly.
        - The calendar can be a week late. A version above all others of its channel, of the newest or the next major
          version, is official if it was built after the newest release of its channel, and at most a week after the
          calendar's newest day.
        - `52.4.0` on the esr channel is `52.4.0esr`.
        """
        for name, value in (("display_version", display_version), ("channel", channel), ("build_id", build_id)):
            arguments.instance(name, value, str, "text")
        built = _built(build_id)
        if built is None or not is_version(display_version) or channel not in self.product.channel_names:
            return False
        version = _display(display_version, channel)
        candidates = self._candidates.get((channel, version), [])
        in_time = any(release.date - MAX_BUILD_LEAD <= built <= self._last_build(release) for release in candidates)
        return in_time or self._is_about_to_be_listed(version, channel, built)

    @cached_property
    def _candidates(self) -> dict[tuple[str, str], list[Release]]:
        """By (channel, display version): the releases that such a build can belong to."""
        meant: dict[tuple[str, str], list[Release]] = {}
        for release in self.releases:
            meant.setdefault((release.channel, release.version), []).append(release)
            stage = version_key(release.version)[1]
            if release.channel == "release":
                meant.setdefault(("beta", release.version), []).append(release)
            elif release.channel in ("beta", "aurora") and stage < STAGES[None]:
                numbers = re.split("a|b|rc", release.version)[0]
                meant.setdefault((release.channel, numbers), []).append(release)
        return meant

    def _last_build(self, release: Release) -> date:
        """The last day on which an official build of a release can have been made."""
        if version_key(release.version)[1] != STAGES["a"]:
            return release.date
        major, rest = release.version.split(".", 1)
        successor = self._dates.get((release.channel, f"{int(major) + 1}.{rest}"))
        return successor + MAX_CALENDAR_DELAY if successor else release.date + MAX_CYCLE

    def _is_about_to_be_listed(self, version: str, channel: str, built: date) -> bool:
        newest = self.newest(channel)
        if newest is None or not self._suits(version, channel):
            return False
        is_next = (
            version_key(version) > version_key(newest.version) and major_of(version) <= major_of(newest.version) + 1
        )
        return is_next and newest.date <= built <= self.newest_date + MAX_CALENDAR_DELAY

    def _suits(self, version: str, channel: str) -> bool:
        """Whether a version has a form that its channel gets, such as 56.0b3 on beta."""
        return version_key(version)[1] in {STAGES[stage] for stage in self.product.channel(channel).stages}

    def shifted(self, weeks: int) -> "Calendar":
        """The calendar, whole weeks later. Raises MissionControlError where a day leaves the years 1 to 9999."""
        arguments.instance("weeks", weeks, int, "a whole number of weeks")
        if isinstance(weeks, bool):
            raise MissionControlError(f"weeks takes a whole number of weeks, not {weeks!r}")
        try:
            return replace(
                self, releases=tuple(replace(r, date=r.date + timedelta(weeks=weeks)) for r in self.releases)
            )
        except OverflowError as error:
            shown = arguments.brief(weeks)
            raise MissionControlError(f"weeks that lead out of the calendar's years, 1 to 9999: {shown}") from error

    def merged_with(self, newer: "Calendar") -> "Calendar":
        """The releases of both calendars, by date; the day of a release that both have is that of the newer one."""
        arguments.instance("newer", newer, Calendar, "a release calendar such as load_calendar() gives")
        merged = {(each.channel, each.version): each for each in (*self.releases, *newer.releases)}
        order = self.product.channel_names.index
        by_date = sorted(merged.values(), key=lambda each: (each.date, order(each.channel), version_key(each.version)))
        return replace(self, releases=tuple(by_date))

    def save(self, path: str | Path) -> None:
        """Writes the calendar as JSON for `load_calendar`, atomically.

        Raises MissionControlError where it cannot be written.
        """
        rows = [[release.version, release.channel, release.date.isoformat()] for release in self.releases]
        lines = ",\n".join(json.dumps(row) for row in rows)
        _write_atomically(Path(arguments.place("path", path)), f'{{"releases": [\n{lines}\n]}}\n')


def not_on_calendar(newest_date: date) -> str:
    """What is said of a version that a calendar lacks: "not on the release calendar of 2024-05-31", its newest day."""
    return f"not on {CALENDAR_NAME} of {newest_date.isoformat()}"


def _day(at: Time) -> date:
    moment = arguments.as_utc("at", at)
    assert moment is not None
    return moment.date()


def _display(version: str, channel: str) -> str:
    return f"{version}esr" if channel == "esr" and version[-1:].isdigit() else version


def _built(build_id: str) -> date | None:
    try:
        return datetime.strptime(build_id, "%Y%m%d%H%M%S").date()
    except ValueError:
        return None


def require_writable(path: str | Path) -> None:
    """Raises MissionControlError where `Calendar.save` could not write; changes nothing.

    Call it before work that ends with saving a calendar. It does not detect a disk that becomes full later.
    """
    target = Path(arguments.place("path", path))
    with _translate_os_errors(target):
        require_replaceable(target)
        there = next(folder for folder in target.absolute().parents if folder.exists())
        with TemporaryFile(dir=there):
            pass


def _write_atomically(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name[:40]}.{os.getpid()}")  # A name of 255 bytes has no room for a suffix
    with _translate_os_errors(path):
        require_replaceable(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(text)
            unfinished.replace(path)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


@contextmanager
def _translate_os_errors(path: Path) -> Iterator[None]:
    """Reports a failure to write in one sentence."""
    try:
        yield
    except OSError as error:
        shown = shortened(str(path))
        raise MissionControlError(f"{CALENDAR_NAME} cannot be written to {shown}: {error.strerror}") from error
