"""How often the slice search names the labelled cause of real incidents, and how fast.

FOLDER has the layout of the RobustSpot paper's data: a CSV file per incident, with the columns `min` (unix time of a
minute), `value` (failures), `cnt` (requests) and dimensions, and `anomaly.yaml` with the minute and the labelled causes
of each. The minute of the incident is compared with up to ten minutes before.

    python benchmarks/slices.py FOLDER [--misses] [--json]
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import missioncontrol_nb as mc  # noqa: E402

COLUMNS = ("min", "value", "cnt")
HISTORY_SECONDS = 600
# Not run by this script. Of all 135 incidents: RobustSpot's paper (IEEE TSC 2023, its abstract); F1 by running the
# authors' and RiskLoc's code with its defaults, 150 s an incident at most.
RIVALS = """
                          causes named                        F1    source
RobustSpot                98 % among five                     0.42  its paper; run
AutoRoot                                                      0.24  run
R-Adtributor                                                  0.09  run
RiskLoc                                                       0.03  run
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--misses", action="store_true", help="print the incidents whose cause is not the first answer")
    parser.add_argument("--json", action="store_true", help="one JSON line instead of text")
    given = parser.parse_args()
    incidents = yaml.safe_load((given.folder / "anomaly.yaml").read_text())
    places, seconds = [], []
    for incident in incidents:
        frame = pd.read_csv(given.folder / f"{incident['data']}.csv", dtype=str).astype(dict.fromkeys(COLUMNS, float))
        began = time.perf_counter()
        answers = [dict(answer) for answer in search(frame, incident["timestamp"])["slice"]]
        seconds.append(time.perf_counter() - began)
        wanted = causes(incident["cause"])
        places.append(next((place for place, answer in enumerate(answers) if answer in wanted), None))
        if given.misses and places[-1] != 0:
            print(f"{incident['data']}: labelled {wanted}, answered {answers[:3]}")
    first, among_five = (share(places, most) for most in (1, 5))
    median = statistics.median(seconds)
    if given.json:
        print(
            json.dumps({"first": first, "among_five": among_five, "median_seconds": median, "incidents": len(places)})
        )
        return 0
    print(RIVALS)
    print(
        f"first {first:.0%}, among five {among_five:.0%}, median {median:.2f} s, {len(places)} incidents".replace(
            "%", " %"
        )
    )
    return 0


def search(frame: pd.DataFrame, minute: int) -> pd.DataFrame:
    dimensions = [name for name in frame.columns if name not in COLUMNS]
    before = frame[(frame["min"] < minute) & (frame["min"] >= minute - HISTORY_SECONDS)]
    now = frame[frame["min"] == minute]
    return mc.slices(now, dimensions=dimensions, events="value", exposure="cnt", baseline=before)


def causes(labelled: Any) -> list[dict[str, str]]:
    """The labelled causes, dimension: value; some incidents have several."""
    several = labelled if isinstance(labelled, list) else [labelled]
    return [{name: str(value) for name, value in cause.items()} for cause in several]


def share(places: list[int | None], most: int) -> float:
    return sum(place is not None and place < most for place in places) / len(places)


if __name__ == "__main__":
    sys.exit(main())
