"""The kinds of ping that are counted. To add one, write a file like the others here, and list it in _FILES."""

from functools import lru_cache
from importlib import import_module

from streaming import contract
from streaming.errors import unknown_name
from streaming.pings.kinds import glean_declared
from streaming.pings.kinds.kind import Kind

_FILES = (
    "telemetry_main",
    "telemetry_crash",
    "telemetry_core",
    "glean_crash",
    "glean_baseline",
)
KINDS: tuple[Kind, ...] = (*(import_module(f"{__name__}.{name}").KIND for name in _FILES), *glean_declared.KINDS)
for _measure in contract.MEASURES:
    for _kind in _measure.kinds:
        if _kind not in [kind.id for kind in KINDS]:
            raise unknown_name(f"kind of ping of measure {_measure.name!r}", _kind, [kind.id for kind in KINDS])
REASONS = contract.reasons_with(reason for kind in KINDS for reason in kind.reasons)
"""Why a document is not counted: a sentence for each reason, in order of precedence."""


@lru_cache(4096)
def kind_named(namespace: str, document_type: str) -> Kind | None:
    """The kind of documents of a namespace and type; None where they are not counted."""
    return next((kind for kind in KINDS if kind.is_of(namespace, document_type)), None)
