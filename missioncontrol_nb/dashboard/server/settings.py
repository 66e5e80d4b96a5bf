"""The settings of a dashboard; they reach a visitor's kernel through environment variables, read only here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from streaming.errors import MissionControlError

PREFIX = "MISSIONCONTROL_"


@dataclass(frozen=True)
class Settings:
    """The dataset (folder or URL), the release calendar (None: the packaged snapshot), and the refresh times.

    `stale_after_seconds`: older data is shown as stopped. `refresh_seconds`: how often to look for new data.
    `cache`: a folder in which the pages of a server keep what they have read, for each other; None: they do not.
    `search`: the URL's query that is shown first. `is_preheated`: the page has no visitor yet, so there is time to
    prepare for any request. The server sets `search` and `is_preheated` itself.
    """

    dataset: str
    releases: str | None = None
    stale_after_seconds: float = 600.0
    refresh_seconds: float = 5.0
    cache: str | None = None
    search: str = ""
    is_preheated: bool = False

    def to_environment(self) -> dict[str, str]:
        """The same settings of the dataset as environment variables."""
        values = {
            "DATASET": self.dataset,
            "RELEASES": self.releases or "",
            "STALE_AFTER_SECONDS": repr(self.stale_after_seconds),
            "REFRESH_SECONDS": repr(self.refresh_seconds),
            "CACHE": self.cache or "",
        }
        return {PREFIX + name: value for name, value in values.items()}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """The settings that `to_environment` wrote.

        Raises MissionControlError where no dataset is named or a number is invalid.
        """
        given = os.environ if environment is None else environment
        if not given.get(f"{PREFIX}DATASET"):
            raise MissionControlError(
                f"no dataset is named: start with `missioncontrol dashboard --dataset URL`, or set {PREFIX}DATASET"
            )
        preheated = given.get("VOILA_PREHEAT")
        return cls(
            dataset=given[f"{PREFIX}DATASET"],
            releases=given.get(f"{PREFIX}RELEASES") or None,
            stale_after_seconds=_seconds(given, "STALE_AFTER_SECONDS", cls.stale_after_seconds),
            refresh_seconds=_seconds(given, "REFRESH_SECONDS", cls.refresh_seconds),
            cache=given.get(f"{PREFIX}CACHE") or None,
            search=given.get("QUERY_STRING", "") if preheated == "False" else "",
            is_preheated=preheated == "True",
        )


# The environment variables of the server that a kernel needs: Python, the system's folders, language and time zone,
# access to an object store. Other variables, such as credentials of other services, are not passed to page processes.
_NEEDED = """
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TMPDIR TEMP TMP VIRTUAL_ENV LD_LIBRARY_PATH DYLD_LIBRARY_PATH
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY
    SCRIPT_NAME PATH_INFO QUERY_STRING SERVER_NAME SERVER_PORT SERVER_PROTOCOL SERVER_SOFTWARE
    SYSTEMROOT COMSPEC PATHEXT APPDATA LOCALAPPDATA USERPROFILE USERNAME
"""
_NEEDED_PREFIXES = (
    *(PREFIX, "LC_", "PYTHON", "CONDA_", "XDG_", "AWS_", "VOILA_", "JUPYTER_", "JPY_", "IPYTHON"),
    *("OMP_", "OPENBLAS_", "MKL_", "ARROW_", "MALLOC_", "TOKIO_", "RUST_"),
)


def kernel_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of the server's environment that the kernel of a page gets."""
    needed = frozenset(_NEEDED.split())
    return {
        name: value
        for name, value in environment.items()
        if name.upper() in needed or name.upper().startswith(_NEEDED_PREFIXES)
    }


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    text = given.get(PREFIX + name)
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise MissionControlError(f"{PREFIX}{name} should be a number of seconds above 0, but is {text!r}")
    return seconds
