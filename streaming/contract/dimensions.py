"""Dimensions: the properties that pings are grouped by. To declare one, add an entry at the end of DIMENSIONS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

ERROR, COARSE, EXPERIMENTS, DELAYS = (
    "error_aggregates",
    "coarse_aggregates",
    "experiment_error_aggregates",
    "reporting_delays",
)


@dataclass(frozen=True)
class Dimension:
    """A property of pings by which rows of the dataset are grouped.

    tables: the tables that have it; `error_aggregates` must be one. at: where it is in pings, a JSON pointer (RFC 6901)
    for each kind that has it; without any, each kind of ping describes it. is_valid: whether a text has a valid form.
    reason: a sentence on what is wrong with an invalid text; "" means that a ping with an invalid text is not rejected
    but counted as `missing`. missing: also what pings without the dimension are counted as.
    """

    name: str
    label: str
    tables: tuple[str, ...]
    at: Mapping[str, str] = field(default_factory=dict, hash=False)
    is_valid: Callable[[str], bool] | None = None
    reason: str = ""
    missing: str = ""


_BUILDS = (ERROR, COARSE)
_SEGMENTS = (ERROR, COARSE, EXPERIMENTS, DELAYS)
DIMENSIONS = (
    Dimension(
        "application",
        "Application",
        _SEGMENTS,
        reason="The application is missing or not one that is counted.",
    ),
    Dimension("channel", "Channel", _SEGMENTS, reason="The channel is missing or not a known one."),
    Dimension(
        "version",
        "Version",
        (ERROR, COARSE, EXPERIMENTS),
        reason="The version is missing or not of a version's form.",
    ),
    Dimension("display_version", "Display version", _BUILDS, reason="A display version is not of a version's form."),
    Dimension("build_id", "Build", _BUILDS, reason="The build id is missing or not of the form YYYYMMDDHHMMSS."),
    Dimension(
        "os_name",
        "Operating system",
        _SEGMENTS,
        reason="The operating system is missing, not a known one, or not Android for a core ping.",
    ),
    Dimension(
        "os_version",
        "System version",
        (ERROR,),
        reason="The operating system's version is missing or does not begin with a number.",
    ),
    Dimension("architecture", "Architecture", (ERROR,), reason="The architecture is missing or not a known one."),
    Dimension("country", "Country", (ERROR, EXPERIMENTS), missing="??"),
)


def dimension(name: str) -> Dimension:
    """A dimension by its name, which must be declared."""
    return next(each for each in DIMENSIONS if each.name == name)
