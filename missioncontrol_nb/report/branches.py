"""Experiments: whether users of one branch crash more than those of the others."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

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
MOST_EXPERIMENTS = 100  # those with the most usage: a stranger can make up any number of names
_SHAPE = 25.0  # of the gamma distribution of the ratios that a difference may have: 0.7 to 1.4, mostly


@dataclass(frozen=True)
class Difference:
    """A measure of one branch against the other branches of its experiment, since its beginning.

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
    """An experiment that runs, on a channel. usage_hours: by branch. differences: the largest evidence first."""

    id: str
    channel: str
    usage_hours: dict[str, float]
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
    keys = ("channel", "experiment_id", "experiment_branch")
    sums = dataset.load(
        at - HISTORY, at, by=keys, every="1d", channel=list(channels), application=list(product.applications)
    )
    if sums.empty:
        return ()
    last = sums.groupby(["channel", "experiment_id"])["window_start"].transform("max")
    sums = sums[last >= at - RUNNING_WITHIN]
    hours = sums.groupby(["channel", "experiment_id"])["usage_hours"].sum().nlargest(MOST_EXPERIMENTS)
    measures = [name for name in product.measures if name in sums.columns]
    compared = max(sums.groupby(["channel", "experiment_id"])["experiment_branch"].nunique().sum() * len(measures), 1)
    found = [
        _experiment(channel, name, rows, measures, int(compared))
        for (channel, name), rows in sums.groupby(["channel", "experiment_id"])
        if (channel, name) in hours.index
    ]
    return tuple(sorted(found, key=lambda each: (not each.alarms, channels.index(each.channel), each.id)))


def _experiment(channel: str, name: str, rows: "pd.DataFrame", measures: list[str], compared: int) -> Experiment:
    usage = rows.groupby("experiment_branch")["usage_hours"].sum()
    found = []
    for branch in usage.index if len(usage) > 1 else ():
        is_branch = rows["experiment_branch"] == branch
        for measure in measures:
            compare = _difference(str(branch), measure, rows[is_branch], rows[~is_branch], compared)
            found += [compare] if compare is not None else []
    found.sort(key=lambda each: -each.evidence)
    return Experiment(name, channel, {str(key): float(value) for key, value in usage.items()}, tuple(found))


def _difference(
    branch: str, measure: str, ours: "pd.DataFrame", others: "pd.DataFrame", compared: int
) -> Difference | None:
    """A branch against the others; None without events or hours."""
    ours, others = (each[each[measure].notna()] for each in (ours, others))
    events, hours = float(ours[measure].sum()), float(ours["usage_hours"].sum())
    events_of, hours_of = float(others[measure].sum()), float(others["usage_hours"].sum())
    if not hours or not hours_of or not events + events_of:
        return None
    spread = _dispersion(ours, others, measure)
    some, all_ = events / spread, (events + events_of) / spread
    evidence = math.exp(min(_log_evidence(some, all_, hours / (hours + hours_of)), 600.0))
    shrunk = (round(some), hours, round(all_ - some), hours_of)
    value, lower, upper = map(float, change(*shrunk))
    is_alarm = evidence >= ALARM * compared and value + 1 >= LEAST_RATIO and lower > 0
    rates = PER_HOURS * events / hours, PER_HOURS * events_of / hours_of
    return Difference(branch, measure, *rates, Change(value, lower, upper), evidence, is_alarm)


def _dispersion(ours: "pd.DataFrame", others: "pd.DataFrame", measure: str) -> float:
    """How many times the variance of chance the days' counts have, at least 1: events come in clusters.

    Pearson's statistic of the branch's share of each day's events, against its share of the day's hours times one
    ratio; by its degrees of freedom.
    """
    days: Any = ours.groupby("window_start")[[measure, "usage_hours"]].sum()
    days = days.join(others.groupby("window_start")[[measure, "usage_hours"]].sum(), rsuffix="_others", how="inner")
    total = (days[measure] + days[f"{measure}_others"]).to_numpy(float)
    odds = days["usage_hours"].to_numpy(float) / np.maximum(days["usage_hours_others"].to_numpy(float), 1e-9)
    all_others = float(days[f"{measure}_others"].sum())
    if len(days) < 3 or not all_others:
        return 1.0
    ratio = float(days[measure].sum()) / max(float((days[f"{measure}_others"].to_numpy(float) * odds).sum()), 1e-9)
    share = ratio * odds / (1 + ratio * odds)
    variance = total * share * (1 - share)
    is_some = variance > 0
    if is_some.sum() < 3:
        return 1.0
    off = (days[measure].to_numpy(float) - total * share)[is_some]
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
