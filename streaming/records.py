"""The typed record of a ping: of main, crash and core pings and the envelope, the fields that are read and no others.

Names are those of the pings' schemas (main.4, crash.4, core.10, telemetry-ingestion.1). Text that a ping lacks is "",
so that `or` finds the first that is there. One record serves all kinds: a document's kind often stands at its end, and
telling the kinds apart first would mean reading each document twice.
"""

# ruff: noqa: N815 (the schemas' names)

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct, field

from streaming import contract, forms

Text = Annotated[str, Meta(max_length=forms.MAX_TEXT)]


class Record(Struct, gc=False, frozen=True):
    """A JSON object; only the fields that are named are read."""


class Buckets(Record, frozen=True):
    """The buckets of a count histogram: it has one, the first."""

    first: int = field(name="0", default=0)


class Histogram(Record, frozen=True):
    """A count histogram: `{"values": {"0": events}}`."""

    values: Buckets = Buckets()


def _record(name: str, fields: dict[str, tuple[Any, Any]]) -> Any:
    """A record class with the given keys, each with a type and a default."""
    named = [
        (f"key_{number}", type_, field(name=key, default=default))
        for number, (key, (type_, default)) in enumerate(fields.items())
    ]
    return msgspec.defstruct(name, named, bases=(Record,), gc=False, frozen=True)


# The histograms that are measures, as the contract declares them, with the place of each in contract.MEASURES.
PLAIN_PLACES = {str(m.histogram): place for place, m in enumerate(contract.MEASURES) if m.histogram and not m.key}
KEYED_PLACES = {
    histogram: {str(m.key): place for place, m in enumerate(contract.MEASURES) if m.histogram == histogram and m.key}
    for histogram in dict.fromkeys(m.histogram for m in contract.MEASURES if m.histogram and m.key)
}
NO_EVENTS = Histogram()
_keyed = {
    name: _record("KeyedHistogram", dict.fromkeys(places, (Histogram, NO_EVENTS)))
    for name, places in KEYED_PLACES.items()
}
if TYPE_CHECKING:

    class Histograms(Record, frozen=True):
        """`payload.histograms`: a Histogram for each of PLAIN_PLACES, in that order."""

    class KeyedHistograms(Record, frozen=True):
        """`payload.keyedHistograms`: for each of KEYED_PLACES a record of a Histogram for each key, in that order."""
else:
    Histograms = _record("Histograms", dict.fromkeys(PLAIN_PLACES, (Histogram, NO_EVENTS)))
    KeyedHistograms = _record("KeyedHistograms", {name: (record, record()) for name, record in _keyed.items()})
NO_HISTOGRAMS = Histograms()
NO_KEYED_HISTOGRAMS = KeyedHistograms()


class Info(Record, frozen=True):
    """`payload.info` of a main ping; the length of use in seconds."""

    subsessionLength: int | None = None
    subsessionStartDate: Text = ""


class CrashMetadata(Record, frozen=True):
    """`payload.metadata` of a crash ping."""

    StartupCrash: Text = ""
    ipc_channel_error: Text = ""


class Payload(Record, frozen=True):
    """What a main ping (histograms, info) and a crash ping (metadata, processType) report."""

    info: Info = Info()
    histograms: Histograms = NO_HISTOGRAMS
    keyedHistograms: KeyedHistograms = NO_KEYED_HISTOGRAMS
    metadata: CrashMetadata = CrashMetadata()
    processType: Text = ""


class Application(Record, frozen=True):
    """The program that sent the ping."""

    name: Text = ""
    version: Text = ""
    displayVersion: Text = ""
    buildId: Text = ""
    channel: Text = ""
    architecture: Text = ""


class BuildInfo(Record, frozen=True):
    """The program that the ping is about: the one that crashed need not be the one that sends."""

    applicationName: Text = ""
    version: Text = ""
    displayVersion: Text = ""
    buildId: Text = ""
    architecture: Text = ""


class OperatingSystem(Record, frozen=True):
    """`environment.system.os`."""

    name: Text = ""
    version: Text = ""


class SystemInfo(Record, frozen=True):
    """`environment.system`."""

    os: OperatingSystem = OperatingSystem()


class Enrolment(Record, frozen=True):
    """The branch of an experiment."""

    branch: Text = ""


class ActiveExperiment(Record, frozen=True):
    """The one experiment of older clients."""

    id: Text = ""
    branch: Text = ""


class Addons(Record, frozen=True):
    """`environment.addons`."""

    activeExperiment: ActiveExperiment = ActiveExperiment()


class Environment(Record, frozen=True):
    """`environment`; experiments are by id."""

    build: BuildInfo = BuildInfo()
    system: SystemInfo = SystemInfo()
    addons: Addons = Addons()
    experiments: dict[Text, Enrolment | Text] | None = None


class Uri(Record, frozen=True):
    """`metadata.uri`: what stands in the path a ping is posted to."""

    app_name: Text = ""
    app_version: Text = ""
    app_update_channel: Text = ""
    app_build_id: Text = ""


class Geo(Record, frozen=True):
    """`metadata.geo`."""

    country: Text = ""


class Metadata(Record, frozen=True):
    """`metadata`, of the envelope."""

    document_type: Text = ""
    uri: Uri = Uri()
    geo: Geo = Geo()


class Document(Record, frozen=True):
    """What is read of a document of any kind: the envelope, main and crash pings, core pings."""

    submission_timestamp: Text = ""
    normalized_app_name: Text = ""
    normalized_channel: Text = ""
    normalized_country_code: Text = ""
    document_id: Text = ""
    metadata: Metadata = Metadata()

    type: Text = ""
    creationDate: Text = ""
    application: Application = Application()
    environment: Environment = Environment()
    payload: Payload = Payload()

    v: int | None = None
    os: Text = ""
    osversion: Text = ""
    arch: Text = ""
    displayVersion: Text = ""
    durations: int | None = None
    created: Text = ""


NO_PAYLOAD = Document().payload
NO_URI = Document().metadata.uri


def _text(value: Raw, other: str = "") -> str:
    """The text that JSON holds; `other` where it holds something else, nothing where there is none."""
    try:
        return msgspec.json.decode(value, type=str) if value else ""
    except msgspec.MsgspecError:
        return other


class GlimpseOfMetadata(Record, frozen=True):
    """`metadata`, of the envelope, of which nothing but the kind is looked at."""

    document_type: Raw = Raw()


class Glimpse(Record, frozen=True):
    """What tells a document's kind and time, whatever the types of the values: for documents that are no Document."""

    submission_timestamp: Raw = Raw()
    metadata: Raw = Raw()
    type: Raw = Raw()
    creationDate: Raw = Raw()
    v: Raw = Raw()
    os: Raw = Raw()
    osversion: Raw = Raw()
    arch: Raw = Raw()
    created: Raw = Raw()

    def document(self) -> Document:
        """The same as a Document: text where text stood, else nothing; `?` where it is enough that something stands."""
        return Document(
            submission_timestamp=_text(self.submission_timestamp),
            metadata=Metadata(document_type=self._said_by_metadata()),
            type=_text(self.type),
            creationDate=_text(self.creationDate),
            v=None if bytes(self.v) in (b"", b"null") else 0,
            os=_text(self.os, "?"),
            osversion=_text(self.osversion, "?"),
            arch=_text(self.arch, "?"),
            created=_text(self.created),
        )

    def _said_by_metadata(self) -> str:
        try:
            return _text(msgspec.json.decode(self.metadata, type=GlimpseOfMetadata).document_type)
        except msgspec.MsgspecError:
            return ""


Bucket = Annotated[int, Meta(ge=0)]  # within JSON's text; a text with a pattern would take four times as long


class HistogramBySchema(Record, frozen=True):
    """Any histogram: events by bucket."""

    values: dict[Bucket, int] = {}


class PayloadBySchema(Record, frozen=True):
    """All histograms of a main ping."""

    histograms: dict[str, HistogramBySchema] = {}
    keyedHistograms: dict[str, dict[str, HistogramBySchema]] = {}


class HistogramsBySchema(Record, frozen=True):
    """A main ping as far as its histograms."""

    payload: PayloadBySchema = PayloadBySchema()
