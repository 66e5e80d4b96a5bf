"""Common parts of Glean pings of Firefox and its kin: sending program, its system, experiments.

Names are those of the schema glean.1. A missing text is "".
"""

from collections.abc import Mapping
from functools import lru_cache

from streaming.pings import validation
from streaming.pings.envelope import OTHER, Enveloped
from streaming.pings.kinds.environment_section import Enrolment
from streaming.pings.record import Record, Text

ANDROID_NAMESPACES = ("org-mozilla-firefox", "org-mozilla-firefox-beta", "org-mozilla-fenix")
IOS_PREFIX = "org-mozilla-ios-"
MOBILE_PREFIX = "org-mozilla-"
REPORTER_NAMESPACES = ("firefox-crashreporter", "thunderbird-crashreporter")
DESKTOP_NAMESPACES = ("firefox-desktop", "thunderbird-desktop")
_APPLICATIONS = {
    **dict.fromkeys(("firefox-desktop", "firefox-crashreporter"), "Firefox"),
    **dict.fromkeys(("thunderbird-desktop", "thunderbird-crashreporter"), "Thunderbird"),
    **dict.fromkeys(ANDROID_NAMESPACES, "Fenix"),
    **dict.fromkeys((f"{IOS_PREFIX}{name}" for name in ("firefox", "firefoxbeta", "fennec")), "Firefox iOS"),
}


class ClientInfo(Record, frozen=True):
    """`client_info`: the program that sends the ping, and its system."""

    app_build: Text = ""
    app_display_version: Text = ""
    app_channel: Text = ""
    architecture: Text = ""
    os: Text = ""
    os_version: Text = ""


class PingInfo(Record, frozen=True):
    """`ping_info`; experiments are keyed by their id."""

    end_time: Text = ""
    experiments: dict[Text, Enrolment] | None = None


class GleanDocument(Enveloped, frozen=True):
    """A Glean document without its metrics."""

    ping_info: PingInfo = PingInfo()
    client_info: ClientInfo = ClientInfo()


def application_of(namespace: str) -> str:
    """The application of a namespace; the namespace itself where no application is known for it."""
    return _APPLICATIONS.get(namespace, namespace)


def channel_of(said: str) -> str:
    """A channel as the ingestion pipeline normalizes it: builds for partners are of the channel they are made from."""
    if said.startswith("beta"):
        return "beta"
    return "nightly" if said.startswith("nightly-cck-") else said


def normalized_channel(document: GleanDocument) -> str:
    """The channel in the envelope; "" where the pipeline does not know it, or where there is no envelope."""
    return "" if document.normalized_channel == OTHER else document.normalized_channel


@lru_cache(4096)
def version_of(display_version: str) -> str:
    """The version of a display version: 153.0 of 153.0b3, 153.8.0 of 153.8.0esr; of 153.0a1 it is 153.0a1 itself."""
    found = validation.VERSION.fullmatch(display_version)
    return found[1] if found and found[2] != "a" else display_version


def os_name_of(said: str) -> str:
    """The name of an operating system in the dataset."""
    return "Windows_NT" if said == "Windows" else said


def architecture_of(said: str, os: str) -> str:
    """An architecture as the dataset names it: that of desktop builds is x86-64, not x86_64."""
    return "x86-64" if said == "x86_64" and os != "Android" else said


def branches_of(document: GleanDocument) -> Mapping[str, str]:
    """The branch of each experiment in `ping_info`."""
    return {name: enrolment.branch for name, enrolment in (document.ping_info.experiments or {}).items()}
