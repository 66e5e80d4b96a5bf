"""The kinds of ping that are counted. To add one, write a file like the others here, and list it in _FILES."""

from importlib import import_module

from streaming import contract
from streaming.errors import unknown_name
from streaming.pings.kinds.kind import Kind

_FILES = (
    "telemetry_main",
    "telemetry_crash",
    "telemetry_core",
)
KINDS: tuple[Kind, ...] = tuple(import_module(f"{__name__}.{name}").KIND for name in _FILES)
for _measure in contract.MEASURES:
    for _kind in _measure.kinds:
        if _kind not in [kind.id for kind in KINDS]:
            raise unknown_name(f"kind of ping of measure {_measure.name!r}", _kind, [kind.id for kind in KINDS])
KIND_OF = {(kind.namespace, kind.document_type): kind for kind in KINDS}
REASONS = contract.reasons_with(reason for kind in KINDS for reason in kind.reasons)
"""Why a document is not counted: a sentence for each reason, in order of precedence."""
