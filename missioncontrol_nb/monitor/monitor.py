"""Summaries of a dataset as of its newest ping: overview, table of a channel and system, detail of one measure."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from missioncontrol_nb import arguments
from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor.completeness import Arrivals
from missioncontrol_nb.monitor.detail import DetailRequest, read_detail
from missioncontrol_nb.monitor.hourly_sums import HourlySums
from missioncontrol_nb.monitor.score import with_score
from missioncontrol_nb.monitor.segment import PERIODS, Period, Segment
from missioncontrol_nb.monitor.summaries import (
    ChannelSummary,
    ChannelTable,
    Completeness,
    Detail,
    NoRelease,
    Overview,
    PlatformSummary,
    Received,
    State,
)
from missioncontrol_nb.monitor.time_units import DAY, HOUR
from missioncontrol_nb.releases.calendar import Calendar
from missioncontrol_nb.releases.sources import calendar_beside, load_calendar
from streaming import contract

OLDER_VERSIONS = 3  # Below the previous version


class Monitor:
    """Summaries of a dataset as of its newest ping; each call loads only data that changed since the last call.

    calendar: None means the calendar in the dataset, else the snapshot; ignored for a product without a calendar.
    official: only builds that the calendar knows as official. product: one that the dataset knows. Call `refresh` to
    update to the newest commits. Raises MissionControlError for an unknown product.
    """

    def __init__(
        self,
        dataset: Dataset | str | Path,
        calendar: Calendar | None = None,
        official: bool = True,
        product: str = contract.FIREFOX.name,
    ) -> None:
        if calendar is not None:
            arguments.instance("calendar", calendar, Calendar, "a release calendar such as load_calendar() gives")
        arguments.flag("official", official)
        self.dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
        self.product = self.dataset.products.named(arguments.text("product", product))
        self.calendar = self._calendar(calendar)
        self._sums = HourlySums(self.dataset, self.calendar, official, self.product)
        self._arrivals = Arrivals(self.dataset, self.product)
        self._last_received: tuple[datetime | None, Received | None] = (None, None)

    def _calendar(self, given: Calendar | None) -> Calendar:
        if self.product.calendar is None:
            return Calendar((), self.product)
        return given or load_calendar(calendar_beside(self.dataset.url))

    def refresh(self) -> bool:
        """Updates the dataset to its newest commits; whether any commit is new."""
        return self.dataset.refresh()

    def overview(self) -> Overview:
        """All channels with pings, with main and content crashes of their newest versions by system."""
        now = self._now()
        names = [channel for channel in self.product.channel_names if self._sums.versions(channel, now)]
        channels = tuple(self._channel(channel, now) for channel in names)
        received = self._received(now)
        return Overview(channels, self.dataset.data_up_to(), now, self.product, self._products(), received)

    def _received(self, now: datetime) -> Received | None:
        """The pings of 24 hours; looked up again when a window has passed, because it takes three queries."""
        window = now - (now - datetime.min.replace(tzinfo=UTC)) % contract.WINDOW
        if self._last_received[0] != window:
            self._last_received = window, self._load_received(window + contract.WINDOW)
        return self._last_received[1]

    def _load_received(self, until: datetime) -> Received | None:
        since = until - DAY
        accepted = self.dataset.load(since, until, measures=(), by="application", every=None)
        parts = (accepted, self.dataset.load_rejected(since, until), self.dataset.load_passed_over(since, until))
        received = Received(*(int(rows["count"].sum()) for rows in parts))
        return received if any((received.accepted, received.rejected, received.passed_over)) else None

    def table(self, channel: str, os_name: str, period: Period = "since_release") -> ChannelTable | NoRelease:
        """All measures of a channel and system. Raises MissionControlError where one of the arguments is unknown."""
        self._check(channel, os_name)
        arguments.choice("period", period, PERIODS)
        place = self._place(channel, os_name, self._now(), 2 + OLDER_VERSIONS)
        if not place.versions:
            return NoRelease(channel, os_name, self.dataset.data_up_to(), self.product)
        return ChannelTable(
            channel,
            os_name,
            place.newest,
            place.previous,
            place.older,
            tuple(place.measure(measure, period) for measure in self.product.measures),
            self._adoption(place),
            self._newest_hours(place),
            self.dataset.data_up_to(),
            place.now,
            self.product,
        )

    def detail(
        self, channel: str, os_name: str, measure: str, request: DetailRequest | None = None
    ) -> Detail | NoRelease:
        """One measure over time, version against version or build against build.

        Raises MissionControlError for an unknown channel, system or measure.
        """
        self._check(channel, os_name, measure)
        if request is not None:
            arguments.instance("request", request, DetailRequest, "a DetailRequest")
        place = self._place(channel, os_name, self._now(), 2 + OLDER_VERSIONS + 1)
        if not place.versions:
            return NoRelease(channel, os_name, self.dataset.data_up_to(), self.product)
        request = request or DetailRequest()
        read = read_detail(place, measure, request)
        return Detail(
            channel,
            os_name,
            place.newest,
            place.previous,
            place.measure(measure),
            read.lines,
            read.windows,
            read.since,
            read.until,
            read.every,
            read.left_out,
            self._adoption(place),
            self._newest_hours(place),
            self.dataset.data_up_to(),
            place.now,
            self.product,
            request.line,
        )

    def _products(self) -> tuple[contract.Product, ...]:
        """The products that have pings; always includes this one."""
        known = self.dataset.products.all
        if len(known) == 1:
            return known
        there = self.dataset.applications()
        return tuple(each for each in known if each == self.product or there.intersection(each.applications))

    def _now(self) -> datetime:
        """The moment up to which data has arrived, after loading changed data.

        Rows of later windows, from pings whose clock is ahead, are not used until that time is reached.
        """
        self._sums.refresh()
        up_to, newest_hour = self.dataset.data_up_to(), self._sums.newest_hour()
        if up_to is not None:
            return up_to
        # No commit records the end of the data. The newest hour is summed whole, so the previous version's is too.
        ends = newest_hour + HOUR - timedelta(microseconds=1) if newest_hour else datetime.now(UTC)
        return min(ends, datetime.now(UTC))

    def _place(self, channel: str, os_name: str, now: datetime, most_versions: int = 2) -> Segment:
        versions = self._sums.versions(channel, now) if os_name in self._sums.platforms(channel) else ()
        return Segment(self._sums, self._arrivals, channel, os_name, versions[:most_versions], now)

    def _channel(self, channel: str, now: datetime) -> ChannelSummary:
        there = [os_name for os_name in self.product.os_names if os_name in self._sums.platforms(channel)]
        places = [self._place(channel, os_name, now) for os_name in there]
        platforms = tuple(self._platform(place) for place in places)
        return with_score(
            ChannelSummary(channel, places[0].newest, places[0].previous, platforms, product=self.product), places
        )

    def _platform(self, place: Segment) -> PlatformSummary:
        shown = dict.fromkeys((*self.product.score, *self.product.cards))
        measures = {measure: place.measure(measure) for measure in shown} if place.has_pings else {}
        is_measured = any(row.state == "measured" for row in measures.values())
        state: State = "measured" if is_measured else "too_little_usage"
        return PlatformSummary(place.os_name, state, measures, self._adoption(place), self._newest_hours(place))

    def _adoption(self, place: Segment) -> float | None:
        return self._sums.adoption(place.channel, place.os_name, place.newest.version, place.now)

    def _newest_hours(self, place: Segment) -> Completeness:
        return self._arrivals.of_newest_hours(place.channel, place.os_name, place.now)

    def _check(self, channel: str, os_name: str, measure: str = contract.MEASURE_NAMES[0]) -> None:
        arguments.choice("channel", channel, self.product.channel_names)
        arguments.choice("operating system", os_name, self.product.os_names)
        arguments.choice("measure", measure, contract.MEASURE_NAMES)
