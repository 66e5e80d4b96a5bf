"""An hour of the stream at half load: does anything grow? Memory, micro-batches, commits and freshness against time.

As benchmarks/freshness.py, longer. Prints medians of each tenth of the run and the last beside the second, which the
first is not: it warms up. With --picture, draws them.
"""

import argparse
from pathlib import Path
from statistics import median

import pandas as pd
from ingest import machine
from live import Watched, add_options, watch

PARTS = 10
SHOWN = {
    "memory of the driver's Python, MB": "driver",
    "memory of its Java, MB": "java",
    "memory of the workers, MB": "workers",
    "memory of its upkeep, MB": "upkeep",
    "summing and committing one, s": "seconds",
    "its commits, s": "commit_seconds",
    "from produce() to load(), s": "freshness",
}


def as_frame(watched: Watched) -> pd.DataFrame:
    """All that was seen, a row each: minute, what (a name of SHOWN), value."""
    rows = [
        (sample.at, name, getattr(sample, field))
        for sample in watched.samples
        for name, field in SHOWN.items()
        if field in sample._fields
    ]
    rows += [
        (batch["at"], name, batch[field])
        for batch in watched.batches
        for name, field in SHOWN.items()
        if field in batch
    ]
    rows += [(at, "from produce() to load(), s", seconds) for at, seconds in watched.freshness]
    frame = pd.DataFrame(rows, columns=["at", "what", "value"])
    frame["minute"] = (frame["at"] - watched.began) / 60
    return frame[(frame["minute"] >= 0)].drop(columns="at")


def report(frame: pd.DataFrame, watched: Watched, minutes: float) -> None:
    """Medians of the parts, and whether the last is more than the second."""
    sent = watched.sent
    print(
        f"{sent['pings']:,} pings in {sent['seconds'] / 60:,.0f} min, {sent['pings'] / sent['seconds']:,.0f} pings/s, "
        f"{sent['bytes'] / sent['seconds'] / 1e6:,.0f} MB/s; {len(watched.batches):,} micro-batches; "
        f"{watched.counted - sent['pings']:+,} pings counted beside those sent\n"
    )
    part = (frame["minute"] / minutes * PARTS).clip(upper=PARTS - 1).astype(int)
    medians = frame.groupby(["what", part])["value"].median().unstack()
    print(f"{'medians by tenth':<36}" + "".join(f"{number + 1:>8}" for number in medians.columns) + "   last : second")
    for what in SHOWN:
        values = medians.loc[what]
        digits = 0 if values.max() > 20 else 2
        shown = "".join(f"{value:>8,.{digits}f}" for value in values)
        print(f"{what:<36}{shown}   {values.iloc[-1] / values.iloc[1]:.2f}")
    seconds = sorted(value for _, value in watched.freshness)
    print(
        f"\nfrom produce() to load(): median {median(seconds):.2f} s, p99 {seconds[int(len(seconds) * 0.99)]:.2f} s, "
        f"maximum {seconds[-1]:.2f} s of {len(seconds):,} probes; {watched.unseen} never seen"
    )


def draw(frame: pd.DataFrame, path: Path) -> None:
    """A small chart for each, against time; a point is the median of half a minute."""
    import altair as alt

    frame = frame.assign(minute=(frame["minute"] * 2).round() / 2)
    medians = frame.groupby(["what", "minute"], as_index=False)["value"].median()
    charts = [
        alt.Chart(medians[medians["what"] == what], title=what, width=300, height=90)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("minute:Q", title="minutes" if what in list(SHOWN)[-2:] else None),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=True)),
        )
        for what in SHOWN
    ]
    alt.concat(*charts, columns=2).configure_title(anchor="start", fontSize=12).save(path, scale_factor=2)


def main() -> None:
    """Runs, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, minutes=60, look_every=0.1)
    parser.add_argument("--values", type=Path, help="a CSV file for all that was seen")
    parser.add_argument("--picture", type=Path, help="a PNG or SVG file for the charts")
    given = parser.parse_args()
    print(machine())
    watched = watch(given)
    frame = as_frame(watched)
    if given.values:
        frame.to_csv(given.values, index=False)
    report(frame, watched, given.minutes)
    if given.picture:
        draw(frame, given.picture)


if __name__ == "__main__":
    main()
