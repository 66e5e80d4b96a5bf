"""The core ping (schema core.10) of Firefox for Android: how long it was used, not when.

Its application, version, build id and channel are only in `metadata.uri`: there is no fallback for a build id.
"""

from msgspec.structs import astuple

from streaming.contract import Reason
from streaming.pings.envelope import OTHER, Envelope, Enveloped
from streaming.pings.kinds.kind import Counts, Events, Kind, Sender, usage_seconds
from streaming.pings.record import Text

# ruff: noqa: N815 (the schema's names)


class CorePing(Enveloped, frozen=True):
    """The fields that are read of a core ping."""

    v: int | None = None
    os: Text = ""
    osversion: Text = ""
    arch: Text = ""
    displayVersion: Text = ""
    durations: int | None = None


def describe(document: CorePing, envelope: Envelope) -> Sender:
    """The program, from the path that the ping was posted to, and the system, from the ping; it must be Android."""
    uri = document.metadata.uri
    name, channel = document.normalized_app_name, document.normalized_channel
    return Sender(
        (name if name != OTHER else "") or uri.app_name,
        (channel if channel != OTHER else "") or envelope.channel or uri.app_update_channel,
        uri.app_version,
        document.displayVersion,
        "",
        uri.app_build_id,
        document.arch,
        document.os if document.os == "Android" else "",
        document.osversion,
    )


def count(document: CorePing, events: Events) -> Counts | str:
    """The length of usage. The ping has no time of usage, so it adds nothing to reporting delays."""
    if not any(astuple(document.metadata.uri)):
        return "uri_missing"
    seconds = usage_seconds(document.durations)
    return seconds if isinstance(seconds, str) else Counts(seconds, events)


KIND = Kind(
    "telemetry",
    "core",
    CorePing,
    describe,
    count,
    reasons=(
        Reason(
            "uri_missing",
            "A core ping without metadata.uri: its application, build and channel stand nowhere else.",
            before="version",
        ),
    ),
    bare_keys=("v", "arch", "os", "osversion"),
)
