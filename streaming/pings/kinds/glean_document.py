"""Common parts of Glean pings of Firefox and its kin: sending program, its system, experiments.

Names are those of the schema glean.1. A missing text is "".
"""

from collections.abc import Mapping
from functools import lru_cache

from streaming.pings import validation
from streaming.pings.envelope import OTHER, Envelope, Enveloped
from streaming.pings.kinds.environment_section import Enrolment, checked
from streaming.pings.kinds.kind import FAR_FUTURE_US, Counts, Enrolments, Events, Sender, usage_seconds
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


_SECOND = 1_000_000_000
_NANOSECONDS = {
    "nanosecond": 1,
    "microsecond": 1_000,
    "millisecond": 1_000_000,
    "second": _SECOND,
    "minute": 60 * _SECOND,
    "hour": 3600 * _SECOND,
    "day": 86_400 * _SECOND,
}


class Timespan(Record, frozen=True):
    """A length of time."""

    value: int | None = None
    time_unit: Text = ""


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


def describe(document: GleanDocument, envelope: Envelope) -> Sender:
    """The program that sends a ping, and its system, as `client_info` says them."""
    client = document.client_info
    return Sender(
        application_of(document.metadata.document_namespace),
        channel_of(normalized_channel(document) or envelope.channel or client.app_channel),
        version_of(client.app_display_version),
        client.app_display_version,
        "",
        client.app_build,
        architecture_of(client.architecture, client.os),
        os_name_of(client.os),
        client.os_version,
    )


def enrolments(document: GleanDocument) -> Enrolments | None:
    """The experiments in `ping_info`; None where one has no known form."""
    return () if document.ping_info.experiments is None else checked(branches_of(document))


def usage_of(document: GleanDocument, length: Timespan, events: Events, active_seconds: int = 0) -> Counts | str:
    """The counts of a ping that says how long its program was used until the ping's end, or the reason against it.

    Without a length, as in a ping that says that use began, it adds none.
    """
    if length.value is None:
        return Counts(events=events, active_seconds=active_seconds)
    unit = _NANOSECONDS.get(length.time_unit)
    seconds = "wrong_type" if unit is None else usage_seconds(length.value * unit // _SECOND)
    if isinstance(seconds, str):
        return seconds
    used_until_us = None
    if document.ping_info.end_time:
        used_until_us = validation.microseconds(document.ping_info.end_time)
        if used_until_us is None:
            return "use_time"
        used_until_us = min(used_until_us, FAR_FUTURE_US)
    return Counts(seconds, events, used_until_us, active_seconds)
