"""The stream of a simulated fleet's pings, in batches."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from missioncontrol_nb.simulator.fleet import Fleet, window_of
from missioncontrol_nb.simulator.glean_sampling import GleanSender
from missioncontrol_nb.simulator.sampling import DEFAULT_EVERY, Batch, Sender


def batches(fleet: Fleet, start: datetime, every: timedelta = DEFAULT_EVERY) -> Iterator[Batch]:
    """Endless batches of pings from `start` on; every: length of a batch; the same arguments give the same pings."""
    rng = fleet.generator("live", start.astimezone(UTC).isoformat())
    kind = GleanSender if fleet.era.is_glean else Sender
    sender = kind(fleet, window_of(start), rng)
    while True:
        if not sender.covers(start):
            sender.move_to(window_of(start))
        yield sender.batch(start, start + every)
        start += every
