"""One data incident, and the JSON document that it is stored as."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from missioncontrol_nb.arguments import as_utc, brief, utf8
from streaming.errors import MissionControlError

LIMITS = ("product", "channel", "os_name", "measure")
FIELDS = ("since", "until", "text", *LIMITS)
MOST_CHARACTERS = 1000  # of a text: a chart and a terminal show it whole
_ID_DIGITS = 10
_EXPECTED = (
    f"expected a JSON object with since and until (ISO 8601, UTC), text, and optionally {', '.join(LIMITS[:-1])} and "
    f"{LIMITS[-1]}"
)


@dataclass(frozen=True)
class Incident:
    """Hours in which a dataset's numbers are known to be wrong.

    since, until: in UTC; the moment `until` itself is no longer in it. product, channel, os_name, measure: what it is
    limited to; None: all. id: the name of the annotation in the dataset.

    Raises MissionControlError where it does not end after it begins, and for a text that is empty or longer than
    MOST_CHARACTERS.
    """

    since: datetime
    until: datetime
    text: str
    product: str | None = None
    channel: str | None = None
    os_name: str | None = None
    measure: str | None = None
    id: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.until <= self.since:
            raise MissionControlError(
                f"expected until after since ({iso_of(self.since)}); got {iso_of(self.until)}, which is not after it"
            )
        if not self.text.strip() or len(self.text) > MOST_CHARACTERS:
            raise MissionControlError(
                f"expected a text of 1 to {MOST_CHARACTERS:,} characters that says what happened; "
                f"got {brief(self.text) if len(self.text) <= MOST_CHARACTERS else f'one of {len(self.text):,}'}"
            )

    def concerns(
        self,
        product: str | None = None,
        channel: str | None = None,
        os_name: str | None = None,
        measure: str | None = None,
    ) -> bool:
        """Whether it concerns any of the data of a product, channel, system and measure; None: of all of them."""
        asked = (product, channel, os_name, measure)
        limits = (getattr(self, name) for name in LIMITS)
        return all(limit is None or each is None or limit == each for limit, each in zip(limits, asked, strict=True))

    def overlaps(self, since: datetime | None, until: datetime | None) -> bool:
        """Whether it has a part in [since, until); None: without a limit there."""
        return (until is None or self.since < until) and (since is None or self.until > since)

    def as_record(self) -> dict[str, str | None]:
        """The incident as a JSON object, with its id and all limits."""
        return {"id": self.id} | self._fields()

    def as_bytes(self) -> bytes:
        """The document that it is stored as; it has only the limits that there are."""
        stored = {name: value for name, value in self._fields().items() if value is not None}
        return (json.dumps(stored, ensure_ascii=False, indent=2) + "\n").encode()

    @property
    def content_id(self) -> str:
        """A hash of the content, so that writing the same incident twice gives one file."""
        return hashlib.sha256(self.as_bytes()).hexdigest()[:_ID_DIGITS]

    def __str__(self) -> str:
        limits = ", ".join(str(getattr(self, name)) for name in LIMITS if getattr(self, name) is not None)
        return f"{self.id}  {iso_of(self.since)} to {iso_of(self.until)}  {limits or 'all data'}: {self.text}"

    def _fields(self) -> dict[str, str | None]:
        limits = {name: getattr(self, name) for name in LIMITS}
        return {"since": iso_of(self.since), "until": iso_of(self.until), "text": self.text, **limits}


def iso_of(moment: datetime) -> str:
    """A moment in UTC, in ISO 8601."""
    return moment.isoformat().replace("+00:00", "Z")


def incident_from(content: bytes, annotation_id: str, where: str) -> Incident:
    """The incident of a stored document. where: its file or URL, for messages.

    Raises MissionControlError, which says what was expected, for a document that is none, lacks a field or has others.
    """
    try:
        return _incident_of(json.loads(content.decode()), annotation_id)
    except (ValueError, RecursionError) as error:
        problem = f"it is not JSON ({error})"
    except MissionControlError as error:
        problem = str(error)
    raise MissionControlError(f"{where} is not a data incident: {problem}; {_EXPECTED}. Correct the file, or delete it")


def _incident_of(document: Any, annotation_id: str) -> Incident:
    if not isinstance(document, dict):
        raise MissionControlError(f"it holds {brief(document)}")
    if unknown := [name for name in document if name not in FIELDS]:
        raise MissionControlError(f"it has the unknown field {brief(unknown[0])}")
    if missing := [name for name in FIELDS[:3] if document.get(name) is None]:
        raise MissionControlError(f"it has no {missing[0]}")
    for name, value in document.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise MissionControlError(f"its {name} is {brief(value)}, not text")
        if value is not None:
            utf8(name, value)
    since, until = as_utc("since", document["since"]), as_utc("until", document["until"])
    assert since is not None
    assert until is not None
    limits = {name: document.get(name) for name in LIMITS}
    return Incident(since, until, document["text"], **limits, id=annotation_id)
