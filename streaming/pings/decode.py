"""Decodes documents: bytes in, the record of a document or the reason why there is none out."""

import re

import msgspec

from streaming.pings import document as documents
from streaming.pings import sinks
from streaming.pings.kinds import KINDS, kind_named
from streaming.pings.kinds.kind import Kind
from streaming.pings.text import as_decodable

MAX_PING_BYTES = 8 * 1024 * 1024
TOO_LARGE = ValueError("larger than a ping")
_DECODER = msgspec.json.Decoder(documents.Document)
_JSON_DECODER = msgspec.json.Decoder(msgspec.Raw)
_NO_CLIENT, _NO_METRICS = documents.NOTHING.client_info, documents.NOTHING.metrics
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_TYPES = b"|".join(re.escape(kind.document_type.encode()) for kind in KINDS)
_TYPE_IN_TEXT = re.compile(rb'"(?:document_type|type)"\s*:\s*"(' + _TYPES + rb')"')
_NAMESPACE_IN_TEXT = re.compile(rb'"document_namespace"\s*:\s*"([\w-]{1,100})"', re.ASCII)


def decode_document(document: bytes) -> "documents.Document | Exception":
    """The record of a document, or the error that prevents one. Pure; raises nothing, whatever the bytes."""
    if len(document) > MAX_PING_BYTES:
        return TOO_LARGE
    try:
        record = _DECODER.decode(document)
        if record.client_info is _NO_CLIENT or record.metrics != _NO_METRICS:
            return record
        is_of_sink = any(name in document for name in documents.SINK_PREFIXES)
        return _decode_line(document) or record if is_of_sink else record
    except msgspec.ValidationError as error:
        return _decode_line(document) or error.with_traceback(None)  # a traceback keeps its callers' objects alive
    except msgspec.DecodeError as error:
        decodable = as_decodable(document)
        return error.with_traceback(None) if decodable == document else _decode_again(decodable)
    except _UNREADABLE as error:
        return error.with_traceback(None)


def _decode_line(line: bytes) -> "documents.Document | Exception | None":
    """The record of the document in a line of a sink's file, or the error that prevents one; None for other lines."""
    document = document_in(line)
    return _decode_again(as_decodable(document)) if isinstance(document, bytes) else document


def document_in(line: bytes) -> bytes | Exception | None:
    """The document in a line of a sink's file, or the error that prevents one; None for other lines."""
    document = sinks.unwrapped(line, MAX_PING_BYTES)
    return sinks.with_dotted_names(line, documents.SINK_NAMES) if document is None else document


def _decode_again(document: bytes) -> "documents.Document | Exception":
    """The record of a document in another form, or the error that prevents one."""
    try:
        return _DECODER.decode(document)
    except _UNREADABLE as error:
        return error.with_traceback(None)


def textual_fault(document: bytes, error: Exception) -> str | None:
    """Why a document that gave an error is not a JSON object, as a key of REASONS; None when it is one."""
    if error is TOO_LARGE:
        return "too_large"
    if error is sinks.BAD_PAYLOAD:
        return "sink_payload"
    if isinstance(error, RecursionError):
        return "too_deep"
    document = as_decodable(document)
    try:
        _JSON_DECODER.decode(document)
        document.decode()
    except RecursionError:
        return "too_deep"
    except _UNREADABLE:
        return "not_json" if document.strip() else "empty"
    return None if document.lstrip().startswith(b"{") else "not_an_object"


def kind_in_text(document: bytes) -> Kind | None:
    """The probable kind of a document that is not JSON, by the first type and namespace in its text."""
    said = _TYPE_IN_TEXT.search(document)
    if not said:
        return None
    namespace = _NAMESPACE_IN_TEXT.search(document)
    return kind_named(namespace[1].decode() if namespace else "telemetry", said[1].decode())
