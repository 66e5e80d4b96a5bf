"""The Firefox of July 2026, which sends Glean pings: its releases and users.

Days of major versions are those of Mozilla's published schedule; in between, betas come on Mondays, Wednesdays and
Fridays, and dot releases weekly from 151 on, every two weeks before; 153 skips one, so that 153.0 is the newest release
for all the days that it is played. The packaged calendar ends earlier.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from missioncontrol_nb.releases.calendar import Calendar, Release
from missioncontrol_nb.simulator.era import Era
from missioncontrol_nb.simulator.population import Experiment

RELEASE_DAYS = {
    147: date(2026, 1, 13),
    148: date(2026, 2, 24),
    149: date(2026, 3, 24),
    150: date(2026, 4, 21),
    151: date(2026, 5, 19),
    152: date(2026, 6, 16),
    153: date(2026, 7, 21),
    154: date(2026, 8, 18),
    155: date(2026, 9, 15),
}
PLAYED, NEWEST = 153, 155
FIRST_WITH_WEEKLY_DOT_RELEASES = 151
# An ESR has releases on the days of later major versions: 140.8.0 on that of 148.0. Simulated users of ESR 140 move to
# ESR 153 as it comes out; real ones are offered it months later.
ESR_MINORS = {140: {major: major - 140 for major in RELEASE_DAYS if major < PLAYED}, 153: {153: 0, 154: 1, 155: 2}}
BETA_DAYS = (0, 2, 4)  # Monday, Wednesday, Friday
MERGE_LEAD = timedelta(days=1)  # Nightly moves on the day before a release


def calendar_of_today() -> Calendar:
    """The simulated calendar of all channels from 147.0 to 155.0."""
    return Calendar(tuple(sorted(_releases(), key=lambda release: (release.date, release.channel, release.version))))


def _releases() -> Iterator[Release]:
    for major, day in RELEASE_DAYS.items():
        yield Release(f"{major}.0", "release", day)
        following = RELEASE_DAYS.get(major + 1, day)
        is_weekly = major >= FIRST_WITH_WEEKLY_DOT_RELEASES and major != PLAYED
        step = timedelta(weeks=1 if is_weekly else 2)
        for number in range(1, (following - day - timedelta(days=1)) // step + 1):
            yield Release(f"{major}.0.{number}", "release", day + number * step)
        for esr, minors in ESR_MINORS.items():
            if major in minors:
                version = f"{esr}.{minors[major]}" + (".0" if minors[major] else "")
                yield Release(f"{version}esr", "esr", day)
        if major < NEWEST:
            yield from _betas(major + 1, day, following)
        yield Release(f"{major + 2}.0a1", "nightly", day - MERGE_LEAD)


def _betas(major: int, since: date, until: date) -> Iterator[Release]:
    days = [since + timedelta(days=number) for number in range(1, (until - since).days - 7)]
    for number, day in enumerate((day for day in days if day.weekday() in BETA_DAYS), 1):
        yield Release(f"{major}.0b{number}", "beta", day)


TODAY = Era(
    label="July 2026",
    version=f"{PLAYED}.0",
    released=datetime(2026, 7, 21, 13, tzinfo=UTC),
    last_day=date(2026, 8, 17),  # 154.0 is not out yet
    usage_shares={
        "release": {"Windows_NT": 64.0, "Darwin": 8.0, "Linux": 9.0},
        "beta": {"Windows_NT": 5.0, "Darwin": 0.9, "Linux": 0.9},
        "nightly": {"Windows_NT": 2.0, "Darwin": 0.7, "Linux": 1.0},
        "esr": {"Windows_NT": 6.5, "Darwin": 0.8, "Linux": 1.2},
    },
    unofficial_shares={
        ("release", "Linux"): 0.7,
        ("esr", "Linux"): 0.75,
        ("release", "Windows_NT"): 0.01,
    },
    os_versions={
        "Windows_NT": {"10.0": 0.985, "6.1": 0.01, "6.3": 0.005},  # Windows 10 and 11 are both 10.0
        "Darwin": {"25.5.0": 0.52, "24.6.0": 0.3, "23.6.0": 0.12, "21.6.0": 0.06},
        "Linux": {"6.8.0": 0.36, "6.18.0": 0.28, "6.12.0": 0.22, "6.1.0": 0.09, "5.15.0": 0.05},
    },
    architectures={
        "Windows_NT": {"x86-64": 0.93, "x86": 0.055, "aarch64": 0.015},
        "Darwin": {"aarch64": 0.72, "x86-64": 0.28},
        "Linux": {"x86-64": 0.97, "aarch64": 0.03},
    },
    experiments=(
        Experiment(
            "tab-groups-rollout-of-july",
            ("control", "treatment"),
            "release",
            0.02,
            timedelta(days=-12),
            timedelta(days=14),
        ),
        Experiment(
            "gpu-sandbox-on-beta", ("control", "stricter"), "beta", 0.1, timedelta(days=-20), timedelta(days=-6)
        ),
    ),
    rates={
        "main_crashes": 2.0,
        "startup_crashes": 0.26,
        "content_crashes": 3.9,
        "content_shutdown_crashes": 0.7,
        "gpu_crashes": 0.3,
        "rdd_crashes": 0.06,
        "socket_crashes": 0.02,
        "utility_crashes": 0.05,
        "gmplugin_crashes": 0.012,
        "plugin_crashes": 0.0,  # Plugins and shims are gone
        "browser_shim_usage_blocked": 0.0,
        "permissions_sql_corrupted": 0.021,
        "defective_permissions_sql_removed": 0.008,
        "slow_script_notice_count": 21.0,
        "slow_script_page_count": 12.0,
    },
    os_factors={
        "Windows_NT": {},
        "Darwin": {"main_crashes": 0.72, "content_crashes": 0.72, "gpu_crashes": 0.0},
        "Linux": {"main_crashes": 1.6, "content_crashes": 1.2, "gpu_crashes": 0.0},
    },
    crash_pings=(
        *("main_crashes", "content_crashes", "content_shutdown_crashes", "gpu_crashes", "rdd_crashes"),
        *("socket_crashes", "utility_crashes", "gmplugin_crashes"),
    ),
    is_glean=True,
)
