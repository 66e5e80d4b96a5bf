"""Experiments: whether users of one branch crash more than those of the others."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from missioncontrol_nb.loading.dataset import Dataset
from missioncontrol_nb.monitor import Change
from missioncontrol_nb.statistics import PER_HOURS, change
from streaming import contract

if TYPE_CHECKING:
    import pandas as pd

HISTORY = timedelta(days=28)
RUNNING_WITHIN = timedelta(days=2)  # an experiment without a ping for so long has ended
ALARM = 100.0  # evidence, divided among all branches and measures that are compared
LEAST_RATIO = 1.1  # a smaller difference is not told
# Those with the most usage: a stranger can make up any number of names.
MOST_EXPERIMENTS, MOST_BRANCHES = 100, 10
LEAST_SHARE = 0.01  # of an experiment's hours, that a branch must have to be compared
_SHAPE = 25.0  # of the gamma distribution of the ratios that a difference may have: 0.7 to 1.4, mostly


@dataclass(frozen=True)
class Difference:
    """A measure of one branch against the others of its experiment that are compared, since its beginning.

    rate, others: events per 1000 hours. change: by how much the first is higher, with its interval of 95 %. evidence:
    how many times as likely the counts are if the branch differs. is_alarm: whether that is enough.
    """

    branch: str
    measure: str
    rate: float
    others: float
    change: Change
    evidence: float
    is_alarm: bool


@dataclass(frozen=True)
class Experiment:
    """An experiment that runs, on a channel.

    usage_hours: of each branch that is compared, the most used one first. others, other_hours: how many branches are
    not, and their hours of use. differences: the largest evidence first.
    """

    id: str
    channel: str
    usage_hours: dict[str, float]
    others: int
    other_hours: float
    differences: tuple[Difference, ...]

    @property
    def alarms(self) -> tuple[Difference, ...]:
        """The differences that are told."""
        return tuple(each for each in self.differences if each.is_alarm)


def read_experiments(
    dataset: Dataset, product: contract.Product, channels: tuple[str, ...], at: datetime
) -> tuple[Experiment, ...]:
    """The experiments that run at a moment, those with an alarm first; empty where the dataset counts none.

    The hours of use are those reported so far, the same for all branches of an experiment.
    """
    if dataset.handle(contract.EXPERIMENT_ERROR_AGGREGATES) is None:
        return ()
    keys = ["channel", "experiment_id"]
    sums = dataset.load(
        at - HISTORY,
        at,
        by=(*keys, "experiment_branch"),
        every="1d",
        channel=list(channels),
        application=list(product.applications),
    )
    if sums.empty:
        return ()
    last = sums.groupby(keys)["window_start"].transform("max")
    sums = sums[last >= at - RUNNING_WITHIN]
    most_used = sums.groupby(keys)["usage_hours"].sum().nlargest(MOST_EXPERIMENTS).index
    sums = sums[sums.set_index(keys).index.isin(most_used)]
    measures = [name for name in product.measures if name in sums.columns]
    branches = {key: _compared(rows) for key, rows in sums.groupby(keys)}
    compared = sum(len(each) for each in branches.values() if len(each) > 1) * len(measures)
    found = [
        _experiment(channel, name, rows, branches[channel, name], measures, compared)
        for (channel, name), rows in sums.groupby(keys)
    ]
    return tuple(sorted(found, key=lambda each: (not each.alarms, channels.index(each.channel), each.id)))


def _compared(rows: "pd.DataFrame") -> list[str]:
    """The branches of an experiment that are compared with each other, the most used one first."""
    usage = rows.groupby("experiment_branch")["usage_hours"].sum()
    return list(usage[usage >= LEAST_SHARE * usage.sum()].nlargest(MOST_BRANCHES).index)


def _experiment(
    channel: str, name: str, rows: "pd.DataFrame", branches: list[str], measures: list[str], compared: int
) -> Experiment:
    usage = rows.groupby("experiment_branch")["usage_hours"].sum()
    by_day = rows[rows["experiment_branch"].isin(branches)].set_index(["window_start", "experiment_branch"]).unstack()
    found = []
    for measure in measures if len(branches) > 1 else ():
        events = by_day[measure][branches].to_numpy(float)
        is_known = ~np.isnan(events)
        events = np.where(is_known, events, 0.0)
        hours = np.where(is_known, by_day["usage_hours"][branches].to_numpy(float), 0.0)
        for place, branch in enumerate(branches):
            days = [each[:, place] for each in (events, hours)]
            days += [np.delete(each, place, axis=1).sum(axis=1) for each in (events, hours)]
            difference = _difference(branch, measure, np.array(days), compared)
            found += [difference] if difference is not None else []
    found.sort(key=lambda each: -each.evidence)
    usage_hours = {branch: float(usage[branch]) for branch in branches}
    others = usage.drop(branches)
    return Experiment(name, channel, usage_hours, len(others), float(others.sum()), tuple(found))


def _difference(branch: str, measure: str, days: "np.ndarray", compared: int) -> Difference | None:
    """A branch against the others; None without events or hours. days: as for `_dispersion`."""
    events, hours, events_of, hours_of = map(float, days.sum(axis=1))
    if not hours or not hours_of or not events + events_of:
        return None
    spread = _dispersion(days)
    some, all_ = events / spread, (events + events_of) / spread
    evidence = math.exp(min(_log_evidence(some, all_, hours / (hours + hours_of)), 600.0))
    shrunk = (round(some), hours, round(all_ - some), hours_of)
    value, lower, upper = map(float, change(*shrunk))
    is_alarm = evidence >= ALARM * compared and value + 1 >= LEAST_RATIO and lower > 0
    rates = PER_HOURS * events / hours, PER_HOURS * events_of / hours_of
    return Difference(branch, measure, *rates, Change(value, lower, upper), evidence, is_alarm)


def _dispersion(days: "np.ndarray") -> float:
    """How many times the variance of chance the days' counts have, at least 1: events come in clusters.

    Pearson's statistic of the branch's share of each day's events, against its share of the day's hours times one
    ratio; by its degrees of freedom. days: four rows with a column for each day: the branch's events and hours, and
    those of the others.
    """
    events, hours, events_of, hours_of = days[:, (days[1] > 0) & (days[3] > 0)]
    if len(events) < 3 or not events_of.sum():
        return 1.0
    odds = hours / hours_of
    ratio = events.sum() / max((events_of * odds).sum(), 1e-9)
    share = ratio * odds / (1 + ratio * odds)
    variance = (events + events_of) * share * (1 - share)
    is_some = variance > 0
    if is_some.sum() < 3:
        return 1.0
    off = (events - (events + events_of) * share)[is_some]
    return max(float((off**2 / variance[is_some]).sum()) / (int(is_some.sum()) - 1), 1.0)


def _log_evidence(events: float, total: float, share: float) -> float:
    """The logarithm of the likelihood of a branch's share of the events under any share, by that under its hours'.

    The prior is a beta distribution around the share of hours, so that the evidence of a branch that does not differ
    reaches x with a chance of at most 1 / x, however often one looks (Ville), if events are counted by chance alone.
    """
    from scipy.special import betaln

    a, b = _SHAPE * share, _SHAPE * (1 - share)
    mixed = betaln(events + a, total - events + b) - betaln(a, b)
    return float(mixed - events * math.log(share) - (total - events) * math.log(1 - share))
