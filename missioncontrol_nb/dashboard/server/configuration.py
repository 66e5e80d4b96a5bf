"""The configuration of Voilà and Jupyter's server."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from jupyter_server.utils import url_path_join
from traitlets.config import Config

from missioncontrol_nb.dashboard.server.admission import Places
from missioncontrol_nb.dashboard.server.connection_limits import HEADERS, IDLE_SECONDS, MOST_BODY_BYTES, UNREAD_SECONDS
from missioncontrol_nb.dashboard.server.handlers import NowhereHandler
from missioncontrol_nb.dashboard.server.kernels import (
    ForkingKernelManager,
    OwnKernelSpecManager,
    PatientKernelManager,
)
from missioncontrol_nb.dashboard.server.websocket import QuietConnection
from streaming.errors import MissionControlError

PACKAGE = Path(__file__).parents[2]
SHARE = PACKAGE / "share" / "jupyter"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LABEXTENSIONS = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]
UNREACHED_SECONDS = 25.0  # a page that no browser has connected to, or asked about, for this long is ended
FILL_AFTER_SECONDS = 5.0  # the next kernel starts after the page just handed out is drawn, not concurrently


def find_notebook(name: str = "dashboard") -> Path:
    """The path of a packaged notebook: in a wheel inside the package, in a checkout beside it."""
    places = [PACKAGE / "notebooks", PACKAGE.parent / "notebooks"]
    for folder in places:
        if (folder / f"{name}.ipynb").is_file():
            return folder / f"{name}.ipynb"
    raise MissionControlError(f"no notebook {name!r} in {' or '.join(map(str, places))}; install the package anew")


@dataclass(frozen=True)
class Hosting:
    """Where and how pages are served.

    `pool`: pages kept ready. `names`: further host names under which a proxy reaches this server. `most_pages`: pages
    open at once; further ones are rejected, and so are more than `most_pages_each` of one address (None: half of all,
    at least 2). A page that no browser has connected to is ended `unreached_seconds` after a browser last asked
    whether it is alive. A kernel that no browser is connected to any more is ended `cull_after_seconds` after its last
    activity; this is checked every `cull_every_seconds`. A request must be complete after `idle_seconds`, and a
    response of which a client reads nothing is aborted after `unread_seconds`.
    """

    host: str = "127.0.0.1"
    port: int = 8866
    pool: int = 2
    base_url: str = "/"
    names: tuple[str, ...] = ()
    most_pages: int = 100
    most_pages_each: int | None = None
    unreached_seconds: float = UNREACHED_SECONDS
    cull_after_seconds: int = 120
    cull_every_seconds: int = 30
    idle_seconds: float = IDLE_SECONDS
    unread_seconds: float = UNREAD_SECONDS
    verbose: bool = False

    @property
    def most_pages_of_one(self) -> int:
        """How many pages one address may have open."""
        return self.most_pages_each or max(2, self.most_pages // 2)


def prepend_jupyter_path(folder: Path) -> None:
    """Makes Jupyter search a folder first for templates and extensions."""
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = os.pathsep.join([str(folder), before] if before else [str(folder)])


def configuration_of(hosting: Hosting, folder: str) -> Config:
    """The configuration of Voilà and of the Jupyter components that it uses."""
    voila = {
        "ip": hosting.host,
        "port": hosting.port,
        "port_retries": 0,
        "base_url": url_path_join("/", hosting.base_url, "/"),
        "open_browser": False,
        "config_file_paths": [],
        "connection_dir_root": folder,
        "log_level": logging.INFO if hosting.verbose else logging.ERROR,
        "kernel_websocket_connection_class": QuietConnection,
        "tornado_settings": {
            "headers": HEADERS,
            "allow_remote_access": hosting.host not in LOOPBACK and not hosting.names,
            "local_hostnames": ["localhost", *hosting.names],
            "is_behind_proxy": bool(hosting.names),
            "places": Places(hosting.most_pages, hosting.most_pages_of_one, hosting.unreached_seconds),
            "websocket_max_message_size": MOST_BODY_BYTES,
            "default_handler_class": NowhereHandler,
            "xsrf_cookie_kwargs": {"samesite": "Strict"},
        },
    }
    page = {
        "template": "missioncontrol",
        "allow_template_override": "NO",
        "allow_theme_override": "NO",
        "file_allowlist": [],
        "show_tracebacks": False,
        "extension_allowlist": LABEXTENSIONS,
        "extension_denylist": [],
        "preheat_kernel": hosting.pool > 0,
        "default_pool_size": min(hosting.pool, hosting.most_pages),
        "multi_kernel_manager_class": PatientKernelManager,
        "kernel_spec_manager_class": OwnKernelSpecManager,
    }
    kernels = {
        "kernel_manager_class": f"{ForkingKernelManager.__module__}.{ForkingKernelManager.__name__}",
        "buffer_offline_messages": False,
        "cull_busy": True,
        "cull_idle_timeout": hosting.cull_after_seconds,
        "cull_interval": hosting.cull_every_seconds,
    }
    kernel = {"transport": "ipc", "autorestart": False, "shutdown_wait_time": 2.0}
    sections = {
        "Voila": voila,
        "VoilaConfiguration": page,
        "MappingKernelManager": kernels,
        "KernelManager": kernel,
        "VoilaKernelManager": {"fill_delay": FILL_AFTER_SECONDS},
        "IdentityProvider": {"cookie_options": {"samesite": "Lax"}},
        "NotebookNotary": {
            "db_file": ":memory:",
            "secret": os.urandom(32),
        },  # by default both are files in the home folder
    }
    return Config(sections)
