"""The envelope that an ingestion pipeline adds to a document, and the values used where there is none."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from streaming import contract
from streaming.errors import MissionControlError
from streaming.pings import validation
from streaming.pings.record import Record, Text

# ruff: noqa: N815 (the schemas' names)


OTHER = "Other"
"""A `normalized_*` value where the pipeline does not know what the document says: the document is asked then."""


class Uri(Record, frozen=True):
    """`metadata.uri`: parts of the path to which a ping is posted."""

    app_name: Text = ""
    app_version: Text = ""
    app_update_channel: Text = ""
    app_build_id: Text = ""


class Geo(Record, frozen=True):
    """`metadata.geo`."""

    country: Text = ""


class Metadata(Record, frozen=True):
    """`metadata`."""

    document_namespace: Text = ""
    document_type: Text = ""
    geo: Geo = Geo()
    uri: Uri = Uri()


class Enveloped(Record, frozen=True):
    """The fields that are read of documents of any kind: the envelope (telemetry-ingestion.1) and its fallbacks."""

    submission_timestamp: Text = ""
    document_id: Text = ""
    metadata: Metadata = Metadata()
    normalized_app_name: Text = ""
    normalized_channel: Text = ""
    normalized_country_code: Text = ""
    type: Text = ""
    creationDate: Text = ""
    created: Text = ""


@dataclass(frozen=True)
class Envelope:
    """Values for documents without an envelope: see the module docstring of `classify`.

    Raises MissionControlError for an unknown country, or for a time that cannot be a submission.
    """

    channel: str | None = None
    country: str | None = None
    submitted_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.country not in (None, contract.UNKNOWN_COUNTRY, *contract.COUNTRIES):
            raise MissionControlError(
                f"expected a country as ISO 3166-1 alpha-2 code, such as DE; got {self.country!r}"
            )
        if self.submitted_us is not None and not validation.is_submission_time(self.submitted_us):
            years = validation.SUBMISSION_YEARS
            raise MissionControlError(
                f"expected --submitted-at between {years[0]} and {years[-1]}; got {str(self.submitted_at)!r}"
            )

    @cached_property
    def submitted_us(self) -> int | None:
        """submitted_at in microseconds since 1970; UTC where it has no offset."""
        return None if self.submitted_at is None else validation.microseconds(self.submitted_at.isoformat())
