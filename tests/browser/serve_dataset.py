"""Serves the dashboard of a dataset as `missioncontrol dashboard` does, but looks for new data more often."""

import argparse

from missioncontrol_nb.dashboard.server.configuration import Hosting
from missioncontrol_nb.dashboard.server.server import serve
from missioncontrol_nb.dashboard.server.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("calendar")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pool", type=int, default=1)
    parser.add_argument("--refresh", type=float, default=5.0)
    given = parser.parse_args()
    settings = Settings(given.dataset, given.calendar, refresh_seconds=given.refresh)
    serve(settings, Hosting(port=given.port, pool=given.pool), on_ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    main()
