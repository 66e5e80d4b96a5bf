"""The fleets that can be simulated, by name."""

from collections.abc import Sequence
from datetime import datetime

from missioncontrol_nb.releases.sources import load_calendar
from missioncontrol_nb.simulator.builds import weeks_until
from missioncontrol_nb.simulator.era import OCTOBER_2017, Era
from missioncontrol_nb.simulator.fleet import DEFAULT_RATE, Bad, Fleet
from missioncontrol_nb.simulator.today import TODAY, calendar_of_today

ERAS: dict[str, Era] = {"2017": OCTOBER_2017, "today": TODAY}


def fleet_at(
    now: datetime,
    name: str = "2017",
    seed: int = 0,
    bad: Sequence[Bad] = (),
    rate: float = DEFAULT_RATE,
    releases: str | None = None,
) -> Fleet:
    """A fleet, played so many weeks later that its release is two to nine days old now.

    name: one of ERAS; releases: another source than the packaged calendar, for the fleet of 2017; seed, bad, rate: as
    for `Fleet`.
    """
    era = ERAS[name]
    calendar = load_calendar(releases) if era is OCTOBER_2017 else calendar_of_today()
    return Fleet(calendar, weeks_until(now, era), seed, bad, rate, era=era)
