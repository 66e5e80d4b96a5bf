"""The times that the simulator can play: which releases, on which systems, and how often what goes wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from missioncontrol_nb.simulator import population
from missioncontrol_nb.simulator.population import Experiment
from streaming import contract

Shares = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Era:
    """A time around a release, which is played as if it were now.

    label: the time in words; version: the played release, as displayed; last_day: the last played day, before the next
    release. build_ids: real ones of desktop builds, by display version; the others are generated: some days before the
    release, at a time derived from the name. usage_shares: percent of the usage of all channels, by channel and system;
    unofficial_shares: of the usage of a channel and system. rates: events per 1000 usage hours on Windows on the
    release channel, 1 for measures that it lacks; os_factors: of these rates, by system. crash_pings: measures of
    which each event is a crash ping. is_glean: whether clients send Glean pings (see `glean_sampling`).
    """

    label: str
    version: str
    released: datetime
    last_day: date
    usage_shares: Shares
    unofficial_shares: Mapping[tuple[str, str], float]
    os_versions: Shares
    architectures: Shares
    experiments: tuple[Experiment, ...]
    rates: Mapping[str, float]
    os_factors: Shares
    crash_pings: tuple[str, ...]
    build_ids: Mapping[str, str] = field(default_factory=dict)
    is_glean: bool = False

    @property
    def crash_measures(self) -> tuple[str, ...]:
        """The measures that crash pings report. A startup crash is a main crash."""
        return (*self.crash_pings, "startup_crashes")

    @property
    def ping_measures(self) -> tuple[str, ...]:
        """The measures that main pings report."""
        return tuple(
            measure.name
            for measure in contract.MEASURES
            if measure.name not in self.crash_measures and "telemetry/main" in measure.kinds
        )

    def usual_rate(self, measure: str) -> float:
        """Events of a measure per 1000 usage hours on Windows on the release channel; 0 where no ping reports it."""
        is_reported = measure in (*self.crash_measures, *self.ping_measures)
        return self.rates.get(measure, 1.0) if is_reported else 0.0

    def shares(self, dimension: str, os_name: str) -> Mapping[str, float]:
        """The values of os_version, architecture or country on a system, with their shares of users."""
        of_systems = {"os_version": self.os_versions, "architecture": self.architectures}
        return of_systems.get(dimension, {}).get(os_name, population.COUNTRIES)


OCTOBER_2017 = Era(
    label="October 2017",
    version="56.0",
    released=datetime(2017, 9, 28, 13, tzinfo=UTC),
    last_day=date(2017, 11, 13),  # 57.0 is not out yet
    build_ids={
        "56.0": "20170926190823",
        "55.0.3": "20170824053622",
        "55.0.2": "20170814072924",
        "55.0.1": "20170809080026",
        "55.0": "20170802111421",
        "54.0.1": "20170628075643",
        "54.0": "20170608105825",
        "53.0.3": "20170518000419",
        "53.0.2": "20170504105526",
        "52.4.0esr": "20170922200134",
    },
    usage_shares={
        "release": {"Windows_NT": 58.0, "Darwin": 6.0, "Linux": 6.5, "Android": 7.5},
        "beta": {"Windows_NT": 6.3, "Darwin": 0.9, "Linux": 0.7, "Android": 1.6},
        "nightly": {"Windows_NT": 2.6, "Darwin": 0.6, "Linux": 0.8, "Android": 0.5},
        "esr": {"Windows_NT": 7.0, "Darwin": 0.4, "Linux": 0.6},
    },
    unofficial_shares={
        ("release", "Linux"): 0.78,
        ("esr", "Linux"): 0.7,
        ("release", "Windows_NT"): 0.012,
    },
    os_versions=population.OS_VERSIONS,
    architectures=population.ARCHITECTURES,
    experiments=population.EXPERIMENTS,
    rates={
        "main_crashes": 2.2,
        "startup_crashes": 0.31,
        "content_crashes": 4.3,
        "content_shutdown_crashes": 0.85,
        "gpu_crashes": 0.13,
        "plugin_crashes": 1.02,
        "gmplugin_crashes": 0.012,
        "browser_shim_usage_blocked": 5.2,
        "permissions_sql_corrupted": 0.021,
        "defective_permissions_sql_removed": 0.008,
        "slow_script_notice_count": 38.8,
        "slow_script_page_count": 21.5,
    },
    os_factors={
        "Windows_NT": {},
        "Darwin": {"main_crashes": 0.72, "content_crashes": 0.72, "plugin_crashes": 0.6, "gpu_crashes": 0.0},
        "Linux": {"main_crashes": 1.75, "content_crashes": 1.22, "plugin_crashes": 1.3, "gpu_crashes": 0.0},
        "Android": {"main_crashes": 1.28}
        | {
            measure.name: 0.0
            for measure in contract.MEASURES
            if contract.FIREFOX.why_not_reported(measure, "Android") is not None
        },
    },
    crash_pings=("main_crashes", "content_crashes", "content_shutdown_crashes"),
)
