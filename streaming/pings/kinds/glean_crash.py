"""The Glean crash ping: one crash of one process, by the browser or by its crash reporter.

The crash reporter's own `client_info` is not that of the program that crashed: its version is that of the reporter.
"""

from msgspec import field

from streaming.pings.envelope import Envelope
from streaming.pings.kinds.environment_section import checked
from streaming.pings.kinds.glean_document import (
    ANDROID_NAMESPACES,
    DESKTOP_NAMESPACES,
    REPORTER_NAMESPACES,
    ClientInfo,
    GleanDocument,
    application_of,
    architecture_of,
    branches_of,
    channel_of,
    normalized_channel,
    os_name_of,
    version_of,
)
from streaming.pings.kinds.kind import Counts, Enrolments, Events, Kind, Sender
from streaming.pings.record import Record, Text

_NO_CLIENT = ClientInfo()
# The SHA-256 of an empty file, which is the dump of any crash whose dump could not be written.
_EMPTY_FILE = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class CrashTexts(Record, frozen=True):
    """`metrics.string`."""

    app_channel: Text = field(name="crash.app_channel", default="")
    app_display_version: Text = field(name="crash.app_display_version", default="")
    app_build: Text = field(name="crash.app_build", default="")
    application_build_id: Text = field(name="crash.application_build_id", default="")
    os: Text = field(name="crash.os", default="")
    os_version: Text = field(name="crash.os_version", default="")
    background_task_name: Text = field(name="crash.background_task_name", default="")
    event_id: Text = field(name="crash.event_id", default="")
    minidump_hash: Text = field(name="crash.minidump_sha256_hash", default="")


class CrashLists(Record, frozen=True):
    """`metrics.string_list`."""

    nimbus_enrollments: tuple[Text, ...] = field(name="environment.nimbus_enrollments", default=())


class CrashMetrics(Record, frozen=True):
    """`metrics`."""

    string: CrashTexts = CrashTexts()
    string_list: CrashLists = CrashLists()


class GleanCrash(GleanDocument, frozen=True):
    """The fields that are read of a crash ping, besides those that measures name."""

    metrics: CrashMetrics = CrashMetrics()


def crash(document: GleanCrash) -> tuple[str, str] | tuple[()]:
    """The event and the dump of the crash, which tell it from others; "" for one that is missing, () where both are.

    A crash of the main process is reported twice, each time by a new document.
    """
    said = document.metrics.string
    dump = "" if said.minidump_hash.lower() == _EMPTY_FILE else said.minidump_hash.lower()
    return (said.event_id, dump) if said.event_id or dump else ()


def describe(document: GleanCrash, envelope: Envelope) -> Sender:
    """The program that crashed, and the system."""
    namespace, said, client = document.metadata.document_namespace, document.metrics.string, document.client_info
    own = _NO_CLIENT if namespace in REPORTER_NAMESPACES else client
    shown = said.app_display_version or own.app_display_version
    os = client.os or said.os
    return Sender(
        application_of(namespace),
        channel_of(said.app_channel or normalized_channel(document) or envelope.channel or own.app_channel),
        version_of(shown),
        shown,
        "",
        said.app_build or said.application_build_id or client.app_build,
        architecture_of(client.architecture, os),
        os_name_of(os),
        client.os_version or said.os_version,
    )


def count(document: GleanCrash, events: Events) -> Counts | str:
    """The crash, as an event of one or more measures."""
    if events:
        return Counts(events=events)
    return "background_task" if document.metrics.string.background_task_name else "process_type"


def enrolments(document: GleanCrash) -> Enrolments | None:
    """The experiments in `ping_info` and in the crash's environment; None where one has no known form."""
    said = document.metrics.string_list.nimbus_enrollments
    if not said and document.ping_info.experiments is None:
        return ()
    return checked(dict(branches_of(document)) | dict(each.partition(":")[::2] for each in said))


KIND = Kind(
    "glean",
    "crash",
    GleanCrash,
    describe,
    count,
    enrolments,
    namespaces=(*DESKTOP_NAMESPACES, *REPORTER_NAMESPACES, *ANDROID_NAMESPACES),
    required={"metrics": "nothing_to_count"},
    crash=crash,
)
