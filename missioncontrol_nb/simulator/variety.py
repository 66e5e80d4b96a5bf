"""How much the releases of a simulated fleet differ: in rates, roll-out, early adopters, and delays of reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Differences:
    """How a release differs from others: factors of what the fleet's releases have in common.

    speed: of its adoption; throttle, throttle_days: of the share that a throttled release is first offered to, and for
    how long; early_excess: of how much more early adopters crash; delay: of the delays of reports.
    """

    speed: float = 1.0
    throttle: float = 1.0
    throttle_days: float = 1.0
    early_excess: float = 1.0
    delay: float = 1.0


@dataclass(frozen=True)
class Variety:
    """The standard deviations of the logarithms of `Differences`, and of the releases' rates.

    rate_spread: by channel; a channel without one has the spread that the simulated fleet always has. drift_a_day: of
    the random walk of a release's rates.
    """

    speed: float = 0.0
    throttle: float = 0.0
    throttle_days: float = 0.0
    early_excess: float = 0.0
    delay: float = 0.0
    rate_spread: Mapping[str, float] = field(default_factory=dict)
    drift_a_day: float = 0.0

    def draw(self, random: np.random.Generator) -> Differences:
        """The differences of one release."""
        spreads = (self.speed, self.throttle, self.throttle_days, self.early_excess, self.delay)
        speed, throttle, days, early, delay = np.exp(random.normal(0, 1, len(spreads)) * spreads)
        return Differences(float(speed), float(min(throttle, 3.0)), float(days), float(early), round(float(delay), 2))


ALIKE = Variety()
VARIED = Variety(
    speed=0.15,
    throttle=0.4,
    throttle_days=0.4,
    early_excess=0.4,
    delay=0.15,
    rate_spread={"release": 0.07, "beta": 0.10, "nightly": 0.15, "esr": 0.07},
    drift_a_day=0.01,
)
"""Releases that differ about as real ones do: between channels, the rates of releases differ more on nightly."""
