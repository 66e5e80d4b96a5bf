"""Which measures the pings of a version could report. What none of them could report is missing, not zero."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from missioncontrol_nb.loading.handles import Handles
from missioncontrol_nb.loading.query import Selection
from missioncontrol_nb.loading.sql import all_of, arrow_schema, conditions_of, is_among, key_of, sum_query
from streaming import contract

if TYPE_CHECKING:
    import pyarrow as pa


class Program(NamedTuple):
    """What users run: a version of an application from a channel, on an operating system."""

    application: str
    channel: str
    os_name: str
    version: str


Programs = Mapping[Program, Collection[str]]
"""Programs; for each one the columns of contract.PING_COUNTS whose kinds of ping have come from it, or may have."""


def as_reported(
    handles: Handles,
    table: contract.Table,
    selection: Selection,
    products: contract.Products,
    sums: "pa.Table",
    at: datetime | None = None,
) -> "pa.Table":
    """The sums of a request, with null where no program among the summed rows could report a measure.

    at: what is known of programs is from windows that start before it; None: from all.

    Programs are looked for only where they may matter: where a sum is 0, and for measures that some clients lack.
    """
    import pyarrow.compute as pc

    known = (*contract.MEASURE_NAMES, contract.ACTIVE_HOURS)
    names = [name for name in sums.column_names if name in known and _may_be_lacking(name, sums[name])]
    if not names:
        return sums
    version = "display_version" if "display_version" in table.keys else "version"
    programs = _programs(handles, selection, version, at)
    can_report: dict[str, str] = {}
    for name in names:
        silent = {each for each, came in programs.items() if not _can_report(name, each, came, products)}
        if silent:
            can_report[name] = f"NOT ({_is_one_of(silent, programs, key_of(version, handles.keys(table)))})"
    if not can_report:
        return sums
    conditions = {f"condition_{place}": sql for place, sql in enumerate(dict.fromkeys(can_report.values()))}
    found = _any_row(handles, table, selection, conditions)
    for name, condition in can_report.items():
        is_reported = found[next(column for column, sql in conditions.items() if sql == condition)]
        column = pc.if_else(is_reported, sums[name], None)
        sums = sums.set_column(sums.schema.get_field_index(name), sums.schema.field(name), column)
    return sums


def why_not_reported(measure: str, program: Program, came: Collection[str], products: contract.Products) -> str | None:
    """Why no ping of a program could report a measure, as a sentence; None where one could.

    came: see Programs.
    """
    declared = contract.measure(measure)
    kinds = declared.kinds
    product = products.by_application.get(program.application)
    if product is not None and program.os_name in product.os_names:
        why = product.why_not_reported(declared, program.os_name, program.version)
        if why is not None:
            return why
        kinds = product.kinds_of(declared, program.os_name, program.version)
    if any(contract.count_of_pings(kind) in came for kind in kinds):
        return None
    named = " or ".join(dict.fromkeys(kind.split("/")[1] for kind in kinds))
    return f"No {named} ping of {program.version} has come from this platform yet, so the rate is unknown, not zero."


def _can_report(name: str, program: Program, came: Collection[str], products: contract.Products) -> bool:
    """Whether a ping of a program could report a measure, or active hours."""
    if name == contract.ACTIVE_HOURS:
        return contract.count_of_pings(contract.GLEAN_BASELINE) in came
    return why_not_reported(name, program, came, products) is None


def _may_be_lacking(name: str, column: "pa.ChunkedArray") -> bool:
    import pyarrow.compute as pc

    declared = None if name == contract.ACTIVE_HOURS else contract.measure(name)
    if declared is not None and (declared.not_on or declared.removed):
        return True
    return bool(pc.any(pc.equal(column, 0)).as_py())


def _programs(handles: Handles, selection: Selection, version_column: str, at: datetime | None) -> Programs:
    """The programs that a request can be about, from all times before a moment.

    Rows from before the pings of a kind were counted hold null: some may have come.
    """
    import pyarrow as pa

    keys = ("application", "channel", "os_name", version_column)
    filters = {name: values for name, values in selection.filters.items() if name in (*keys, "version")}
    everything = replace(selection, since=None, until=at, filters=filters)
    table = handles.smallest(contract.ERROR_AGGREGATES, (*keys, "version"))
    counted = handles.columns(table, contract.PING_COUNTS)
    came = [
        f"bool_or({name} IS NULL OR {name} > 0) AS {name}" if name in counted else f"TRUE AS {name}"
        for name in contract.PING_COUNTS
    ]
    expressions = handles.keys(table)
    columns = [f"{key_of(name, expressions)} AS {name}" for name in keys]
    conditions = all_of(conditions_of(everything, keys=expressions))
    query = f"SELECT {', '.join([*columns, *came])} FROM data WHERE {conditions} GROUP BY 1, 2, 3, 4"
    schema = pa.schema([*arrow_schema(keys), *((name, pa.bool_()) for name in contract.PING_COUNTS)])
    rows = handles.rows(table, query, schema).to_pylist()
    return {Program(*(row[key] for key in keys)): [name for name in contract.PING_COUNTS if row[name]] for row in rows}


def _is_one_of(chosen: Iterable[Program], programs: Iterable[Program], version_column: str) -> str:
    """SQL that is true for the rows of chosen programs. It names no versions where all of a system's are chosen."""
    versions, known = _by_system(chosen), _by_system(programs)
    parts = []
    for system, of_system in sorted(versions.items()):
        names = [(name,) for name in system]
        conditions = [is_among(*each) for each in zip(("application", "channel", "os_name"), names, strict=True)]
        if of_system != known[system]:
            conditions.append(is_among(version_column, sorted(of_system)))
        parts.append(f"({' AND '.join(conditions)})")
    return " OR ".join(parts)


def _by_system(programs: Iterable[Program]) -> dict[tuple[str, ...], set[str]]:
    """Versions by application, channel and system."""
    versions: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for program in programs:
        versions[program[:3]].add(program.version)
    return versions


def _any_row(
    handles: Handles, table: contract.Table, selection: Selection, conditions: Mapping[str, str]
) -> "pa.Table":
    """For each row of a request's sums, in their order, whether any of the summed rows meets each condition."""
    import pyarrow as pa

    more = {name: f"bool_or({condition})" for name, condition in conditions.items()}
    query = sum_query(selection, (), more, handles.keys(table))
    window: Sequence[Any] = ("window_start",) if selection.every else ()
    schema = pa.schema([*arrow_schema((*window, *selection.by)), *((name, pa.bool_()) for name in conditions)])
    return handles.rows(table, query, schema)
