"""The judge's verdicts as pages show them: a state with its word for each measure, and the worst of a place."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from missioncontrol_nb.incidents import Incident
from missioncontrol_nb.judgement.verdicts import Verdict, Verdicts
from missioncontrol_nb.monitor import ChannelSummary, ChannelTable, Detail, MeasureSummary, PlatformSummary

State = Literal["bad", "looks-bad", "early", "fine", "judging", "none"]
ORDER: tuple[State, ...] = ("bad", "looks-bad", "early", "fine", "judging", "none")  # worst first
WORDS: dict[State, str] = {
    "bad": "Bad",
    "looks-bad": "Looks bad",
    "early": "Too early",
    "fine": "Fine",
    "judging": "Judging …",
    "none": "Not reported",
}
_STATE_OF: dict[str, State] = {"bad": "bad", "looks bad": "looks-bad", "too early": "early", "fine": "fine"}
NOT_JUDGED = "it could not be judged; the reason is in the server's log"
NOT_LISTED = "it is not on the release calendar, so it is not judged"
NO_SERIES = "no usage has been reported yet"
Place = ChannelSummary | ChannelTable | Detail


@dataclass(frozen=True)
class Standing:
    """What is said of one measure of a version on a system. why: why it is too early to say, without a full stop."""

    os_name: str
    measure: str
    state: State
    verdict: Verdict | None = None
    why: str = ""

    @property
    def is_up(self) -> bool:
        """Whether it is or looks bad."""
        return self.state in ("bad", "looks-bad")

    @property
    def sort_key(self) -> tuple[int, float, float]:
        """Worst first: by state, then by evidence and by how bad it is now."""
        series = self.verdict.series if self.verdict else None
        evidence = math.log(max(series.evidence, 1e-12)) if series and series.evidence else -math.inf
        ratio = self.verdict.now.ratio if self.verdict and self.verdict.now.ratio else 0.0
        return ORDER.index(self.state), -evidence, -ratio


@dataclass(frozen=True)
class Judged:
    """The verdicts that a page has. is_current: whether they are of the newest data. has_failed: judging did.

    incidents: the dataset's data incidents, whose hours are not judged, by their beginning.
    """

    verdicts: Verdicts | None = None
    is_current: bool = False
    has_failed: bool = False
    incidents: tuple[Incident, ...] = ()

    def standing(self, place: Place, os_name: str, row: MeasureSummary) -> Standing:
        """What is said of a row of a channel, a table or a detail."""
        if row.state == "not_reported":
            return Standing(os_name, row.measure, "none", why=row.why.rstrip("."))
        if self.verdicts is None:
            state: State = "early" if self.has_failed else "judging"
            return Standing(os_name, row.measure, state, why=NOT_JUDGED if self.has_failed else "")
        verdict = self.verdicts.of(place.channel, os_name, place.newest.version, row.measure)
        if verdict is None:
            why = NOT_LISTED if place.newest.not_listed_on and place.product.calendar else NO_SERIES
            return Standing(os_name, row.measure, "early", why=why)
        return Standing(os_name, row.measure, _STATE_OF[verdict.series.state], verdict, verdict.series.why)

    def standings(self, place: Place, os_name: str, rows: Iterable[MeasureSummary]) -> list[Standing]:
        """What is said of several rows, in their order."""
        return [self.standing(place, os_name, row) for row in rows]


def is_compared(found: Iterable[Standing]) -> bool:
    """Whether something is expected of any measure, so that a page's figures are estimated and not as reported."""
    return any(each.verdict is not None and each.verdict.now.expected_rate is not None for each in found)


def worst(found: Iterable[Standing]) -> Standing | None:
    """The worst of some; None of none."""
    return min(found, key=lambda each: each.sort_key, default=None)


def overall(found: Sequence[Standing], decisive: Sequence[str]) -> State:
    """The state of a place: bad if any measure is, looks bad likewise, else that of the decisive measures.

    decisive: names of measures. Rare events stay too early to say for days; they do not hide that the others are fine.
    A place is too early to say while one of the decisive measures is.
    """
    found = [each for each in found if each.state != "none"]
    up = worst(each for each in found if each.is_up)
    if up is not None:
        return up.state
    said = worst([each for each in found if each.measure in decisive] or found)
    return said.state if said else "none"


def of_platform(judged: Judged, channel: ChannelSummary, platform: PlatformSummary) -> list[Standing]:
    """What is said of all measures of a platform that are shown or judged."""
    found = judged.standings(channel, platform.os_name, platform.measures.values())
    return [*found, *_not_shown(judged, channel, platform.os_name, platform.measures)]


def of_table(judged: Judged, table: ChannelTable) -> list[Standing]:
    """What is said of all rows of a table."""
    return judged.standings(table, table.os_name, table.rows)


def of_detail(judged: Judged, detail: Detail) -> tuple[Standing, list[Standing]]:
    """What is said of a detail's measure, and of the platform's others that are judged."""
    others = _not_shown(judged, detail, detail.os_name, {detail.row.measure})
    return judged.standing(detail, detail.os_name, detail.row), others


def _not_shown(judged: Judged, place: Place, os_name: str, shown: Collection[str]) -> list[Standing]:
    """What is said of the measures that a page has no row of."""
    rows = [MeasureSummary(name, "measured") for name in place.product.measures if name not in shown]
    return [each for each in judged.standings(place, os_name, rows) if each.verdict is not None]


def state_of_platform(judged: Judged, channel: ChannelSummary, platform: PlatformSummary) -> State:
    """The state of a platform's card and cell; too early where no ping has come."""
    if not platform.measures:
        return "early"
    return overall(of_platform(judged, channel, platform), decisive_of(channel))


def decisive_of(place: Place) -> tuple[str, ...]:
    """The measures that a place must not be too early to say of to be called fine."""
    return tuple(dict.fromkeys((*place.product.score, *place.product.cards)))


def of_channel(judged: Judged, channel: ChannelSummary) -> list[Standing]:
    """What is said of all measures of a channel on all its platforms."""
    return [each for platform in channel.platforms for each in of_platform(judged, channel, platform)]
