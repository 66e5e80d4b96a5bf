"""The users of the simulated fleet: operating system versions, architectures, countries and experiments."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from streaming import contract

if TYPE_CHECKING:
    from missioncontrol_nb.simulator.builds import Build

OS_VERSIONS = {
    "Windows_NT": {"6.1": 0.48, "10.0": 0.41, "6.3": 0.08, "6.2": 0.015, "6.0": 0.015},
    "Darwin": {"16.7.0": 0.50, "15.6.0": 0.22, "17.0.0": 0.16, "14.5.0": 0.12},
    "Linux": {"4.10.0": 0.45, "4.4.0": 0.35, "4.13.3": 0.14, "3.13.0": 0.06},
    "Android": {"24": 0.34, "23": 0.31, "22": 0.17, "19": 0.11, "25": 0.07},  # API levels
}
ARCHITECTURES = {
    "Windows_NT": {"x86": 0.58, "x86-64": 0.42},
    "Darwin": {"x86-64": 1.0},
    "Linux": {"x86-64": 0.91, "x86": 0.09},
    "Android": {"armeabi-v7a": 0.94, "x86": 0.06},
}
COUNTRIES = {
    "US": 0.21,
    "DE": 0.14,
    "FR": 0.08,
    "RU": 0.08,
    "IN": 0.07,
    "BR": 0.06,
    "ID": 0.06,
    "PL": 0.06,
    "IT": 0.05,
    "GB": 0.05,
    "CN": 0.05,
    "JP": 0.04,
    "ES": 0.04,
    contract.UNKNOWN_COUNTRY: 0.01,
}

# Hours east of UTC, without daylight saving time; of the largest zone where there are several.
_UTC_OFFSETS = {"US": -6.0, "RU": 3.0, "IN": 5.5, "BR": -3.0, "ID": 7.0, "CN": 8.0, "JP": 9.0}
_UTC_OFFSETS |= {"GB": 0.0, contract.UNKNOWN_COUNTRY: 0.0}


def utc_offset_hours(country: str) -> float:
    """How many hours the clocks of a country are ahead of UTC."""
    return _UTC_OFFSETS.get(country, 1.0)


@dataclass(frozen=True)
class Experiment:
    """An experiment on desktop users of a channel; half of the enrolled users are in each branch.

    share: of the users; begins, ends: relative to the played release.
    is_old_kind: whether it is reported as the single active experiment of older clients.
    """

    id: str
    branches: tuple[str, str]
    channel: str
    share: float
    begins: timedelta
    ends: timedelta
    is_old_kind: bool = False

    def is_running(self, moment: Any, released: datetime) -> Any:
        """Whether it runs at a moment or at each of an array (seconds since 1970); released: the played release."""
        is_begun = moment >= (released + self.begins).timestamp()
        return is_begun & (moment < (released + self.ends).timestamp())

    def is_on(self, build: "Build") -> bool:
        """Whether users of a build can be in the experiment."""
        return build.channel == self.channel and build.application == "Firefox" and build.is_official


EXPERIMENTS = (
    Experiment(
        "pref-flip-screenshots-release-1369150",
        ("control", "treatment"),
        "release",
        0.02,
        timedelta(days=-12),
        timedelta(days=14),
    ),
    Experiment(
        "pref-flip-quantum-css-style-r1-1381147",
        ("control", "stylo"),
        "beta",
        0.1,
        timedelta(days=-20),
        timedelta(days=-6),
    ),
    Experiment(
        "nightly-nothing-burger-1@experiments.mozilla.org",
        ("control", "burger"),
        "nightly",
        0.05,
        timedelta(days=-5),
        timedelta(days=20),
        is_old_kind=True,
    ),
)
