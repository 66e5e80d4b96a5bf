"""The builds of the simulated fleet: their platforms and release times, by the calendar of an era."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zlib import crc32

from missioncontrol_nb.releases.calendar import Calendar, Release
from missioncontrol_nb.releases.versions import version_key
from missioncontrol_nb.simulator.era import OCTOBER_2017, Era
from streaming import contract

PLAYED_RELEASE = OCTOBER_2017.released  # of 56.0
YOUNGEST = timedelta(days=2)  # The played release is at least this old, and at most a week older
OLDEST_RELEASE = timedelta(
    days=150
)  # Before the played release; no build in use is older than the six months that count
CHANNELS = ("release", "beta", "nightly", "esr")  # Aurora ended in April 2017
LEAD_DAYS = {"release": 4, "beta": 1, "esr": 5}
RELEASE_HOURS = {"release": 13, "beta": 6, "esr": 13}  # UTC
NIGHTLY_HOURS = {"Android": (10,)}  # Others at 10 and 22
NIGHTLY_OUT_AFTER_HOURS = 3


@dataclass(frozen=True)
class Build:
    """One build on one platform; out: when its use begins, in seconds since 1970.

    is_throttled: whether it was first offered to a quarter of its users only, as major releases are.
    """

    application: str
    channel: str
    os_name: str
    version: str
    display_version: str
    build_id: str
    is_official: bool
    is_throttled: bool
    out: float

    @property
    def name(self) -> str:
        """The unique name of the build."""
        return f"{self.channel} {self.os_name} {self.display_version} {self.build_id} {self.is_official}"


def weeks_until(now: datetime, era: Era = OCTOBER_2017) -> int:
    """How many weeks later an era must be played so that its release is two to nine days old at a moment."""
    return (now - era.released - YOUNGEST) // timedelta(weeks=1)


def builds_of(calendar: Calendar, weeks: int, era: Era = OCTOBER_2017) -> tuple[Build, ...]:
    """All builds in use around an era's release, shifted some weeks later, oldest first within a channel and platform.

    calendar: the era's, not shifted.
    """
    first_day = era.released.date() - OLDEST_RELEASE
    builds: list[Build] = []
    for channel in CHANNELS:
        releases = [r for r in calendar.on(channel, era.last_day) if r.date >= first_day]
        for os_name in contract.FIREFOX.os_names:
            if os_name in era.usage_shares[channel]:
                nightlies = channel == "nightly"
                found = _nightlies(releases, os_name, era) if nightlies else _releases(releases, os_name, era)
                builds += sorted(found, key=lambda build: (build.out, version_key(build.display_version)))
    return tuple(_later(build, weeks) for build in builds)


def _releases(releases: list[Release], os_name: str, era: Era) -> Iterator[Build]:
    for release in releases:
        official = _build(release, os_name, era)
        yield official
        if os_name != "Android":
            yield _rebuilt(official)


def _build(release: Release, os_name: str, era: Era) -> Build:
    version = re.split("a|b|esr", release.version)[0]
    hour = RELEASE_HOURS[release.channel]
    return Build(
        application="Fennec" if os_name == "Android" else "Firefox",
        channel=release.channel,
        os_name=os_name,
        version=release.version if release.channel == "nightly" else version,
        display_version=release.version,
        build_id=_build_id(release, os_name, era),
        is_official=True,
        is_throttled=release.channel == "release" and version.count(".") == 1,
        out=datetime.combine(release.date, time(hour), UTC).timestamp(),
    )


def _build_id(release: Release, os_name: str, era: Era) -> str:
    if os_name != "Android" and release.version in era.build_ids:
        return era.build_ids[release.version]
    second = crc32(f"{release.version} {os_name == 'Android'}".encode()) % 86400
    built = datetime.combine(release.date, time(), UTC) - timedelta(days=LEAD_DAYS[release.channel])
    return _as_build_id(built + timedelta(seconds=second))


def _as_build_id(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S")


def _rebuilt(official: Build) -> Build:
    """The same version as built by a distribution or a third party, one to three days after its release."""
    lag = timedelta(days=1, seconds=crc32(f"rebuilt {official.name}".encode()) % (2 * 86400))
    out = datetime.fromtimestamp(official.out, UTC) + lag
    build_id = _as_build_id(out - timedelta(hours=5))
    return replace(official, build_id=build_id, is_official=False, is_throttled=False, out=out.timestamp())


def _nightlies(releases: list[Release], os_name: str, era: Era) -> Iterator[Build]:
    """Two builds a day (one on Android), from the day of a version to the day of the next version."""
    oldest_first = releases[::-1]
    ends = [*(release.date for release in oldest_first[1:]), era.last_day]
    for release, end in zip(oldest_first, ends, strict=True):
        for day in range((end - release.date).days):
            for hour in NIGHTLY_HOURS.get(os_name, (10, 22)):
                yield _nightly(release, os_name, release.date + timedelta(days=day), hour)


def _nightly(release: Release, os_name: str, day: date, hour: int) -> Build:
    seconds = crc32(f"{release.version} {day} {hour} {os_name == 'Android'}".encode()) % 300
    built = datetime.combine(day, time(hour), UTC) + timedelta(seconds=seconds)
    return Build(
        application="Fennec" if os_name == "Android" else "Firefox",
        channel="nightly",
        os_name=os_name,
        version=release.version,
        display_version=release.version,
        build_id=_as_build_id(built),
        is_official=True,
        is_throttled=False,
        out=(built + timedelta(hours=NIGHTLY_OUT_AFTER_HOURS)).timestamp(),
    )


def _later(build: Build, weeks: int) -> Build:
    built = datetime.strptime(build.build_id, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    shift = timedelta(weeks=weeks)
    return replace(build, build_id=_as_build_id(built + shift), out=build.out + shift.total_seconds())
