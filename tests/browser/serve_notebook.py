"""Serves a notebook of the tests as the dashboard is served: the same server, template and kernel."""

import argparse
from pathlib import Path

from missioncontrol_nb.dashboard.server import fork_server
from missioncontrol_nb.dashboard.server.configuration import Hosting
from missioncontrol_nb.dashboard.server.server import serve
from missioncontrol_nb.dashboard.server.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("notebook", type=Path)
    for name, default in (("port", 0), ("pool", 1), ("most-pages", 100), ("cull-after", 120), ("cull-every", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("unreached", 25.0), ("idle", 65.0), ("unread", 60.0)):
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--base-url", default="/")
    parser.add_argument("--no-fork", action="store_true", help="start kernels as on a system without pidfd")
    given = parser.parse_args()
    if given.no_fork:
        fork_server.IS_AVAILABLE = False
    hosting = Hosting(
        port=given.port,
        pool=given.pool,
        base_url=given.base_url,
        most_pages=given.most_pages,
        unreached_seconds=given.unreached,
        idle_seconds=given.idle,
        unread_seconds=given.unread,
        cull_after_seconds=given.cull_after,
        cull_every_seconds=given.cull_every,
        verbose=True,
    )
    serve(Settings("unused"), hosting, notebook=given.notebook, on_ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    main()
