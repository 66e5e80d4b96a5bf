"""A status as one self-contained HTML page: no script, no image, no other host."""

from html import escape
from importlib.resources import files

from missioncontrol_nb.status import wording
from missioncontrol_nb.status.collect import Status

RELOAD_SECONDS = 10


def as_page(status: Status, problem: str = "") -> str:
    """The status as an HTML page. problem: why there is no newer status; empty if the status is the newest."""
    style = files("missioncontrol_nb.status").joinpath("page.css").read_text(encoding="utf-8")
    state = "Stale" if status.is_stale else "Fresh"
    parts = [
        f"<h1>Mission Control · {escape(status.dataset)}</h1>",
        _verdict(status),
        f'<p class="trouble" role="alert">This is not the newest: {escape(problem)}</p>' if problem else "",
        f'<div class="cards">{_behind(status)}{_pings(status)}{_uncounted(status)}</div>',
        _partitions(status),
        _watch(status),
        _receivers(status),
        _reasons(status),
        _maintenance(status),
        _tables(status),
        f"<footer>Looked up {escape(wording.moment(status.looked_up, status.at))}; this page is drawn anew every "
        f"{RELOAD_SECONDS} s. Probes ask <code>/healthz</code>, Prometheus <code>/metrics</code>.</footer>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{RELOAD_SECONDS}"><link rel="icon" href="data:,">'
        f"<title>{state} · Mission Control</title><style>{style}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _verdict(status: Status) -> str:
    sentences = [wording.freshness(status), wording.job(status), wording.last_write(status)]
    lines = "".join(f"<p>{escape(_capitalized(line))}</p>" for line in sentences if line)
    css = "verdict stale" if status.is_stale else "verdict"
    return f'<section class="{css}" role="status"><strong>{_headline(status)}</strong>{lines}</section>'


def _capitalized(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _headline(status: Status) -> str:
    if status.age_seconds is None:
        return "Nothing yet"
    return f"{'Stale' if status.is_stale else 'Fresh'}: the newest ping is {wording.duration(status.age_seconds)} old"


def _card(title: str, number: str, unit: str, *notes: str) -> str:
    paragraphs = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f'<section class="card"><h2>{title}</h2><b>{number} <small>{escape(unit)}</small></b>{paragraphs}</section>'


def _behind(status: Status) -> str:
    behind = status.lag
    if behind is None:
        return _card("Behind", "?", "", "Not known: there is no checkpoint here")
    if behind.total is None:
        return _card("Behind", "?", "", f"Not known: {behind.unknown}")
    noun = "file" if behind.by_partition is None else "message"
    return _card("Behind", f"{behind.total:,}", noun if behind.total == 1 else f"{noun}s", f"of {behind.source}")


def _pings(status: Status) -> str:
    if status.newest is None:
        return _card("Pings", "0", "a second")
    day = f"{status.last_day.total:,} in 24 hours"
    return _card("Pings", f"{status.newest.per_second:,.1f}", "a second", wording.stretch(status.newest), day)


def _uncounted(status: Status) -> str:
    """A card for each sort of pings that do not count."""
    hour, day = status.last_hour, status.last_day
    cards = ""
    for label, kind in wording.UNCOUNTED.items():
        numbers = [sum(wording.counts(each, kind).values()) for each in (hour, day)]
        shares = [
            f"{100 * number / each.total:.2f} %" if each.total else "–"
            for number, each in zip(numbers, (hour, day), strict=True)
        ]
        notes = f"of {hour.total:,} in the last hour", f"{numbers[1]:,}, {shares[1]}, in 24 hours"
        cards += _card(label, shares[0], f"{numbers[0]:,} pings", *notes)
    return cards


def _partitions(status: Status) -> str:
    lag = status.lag.by_partition if status.lag else None
    if not lag:
        return ""
    most = max(lag.values()) or 1
    rows = "".join(
        f'<tr><td>{partition}</td><td class="n">{count:,}</td>'
        f'<td class="bar">{f"<i style=width:{100 * count / most:.1f}%></i>" if count else ""}</td></tr>'
        for partition, count in sorted(lag.items())
    )
    head = '<tr><th>Partition</th><th class="n">Messages behind</th><th class="bar"></th></tr>'
    return f'<section class="card"><h2>Behind, by partition</h2><table>{head}{rows}</table></section>'


def _reasons(status: Status) -> str:
    return "".join(_reasons_of(status, label, kind) for label, kind in wording.UNCOUNTED.items())


def _reasons_of(status: Status, label: str, kind: wording.Uncounted) -> str:
    rows = "".join(
        f'<tr><td>{escape(reason)}<span class="said">{escape(meaning)}</span></td>'
        f'<td class="n">{hour:,}</td><td class="n">{day:,}</td></tr>'
        for reason, hour, day, meaning in wording.reasons(status, kind)
    )
    if not rows:
        return ""
    head = '<tr><th>Reason</th><th class="n">Last hour</th><th class="n">24 hours</th></tr>'
    return f'<section class="card"><h2>{label}, by reason</h2><table>{head}{rows}</table></section>'


def _watch(status: Status) -> str:
    lines = wording.watch(status)
    if not lines:
        return ""
    css = "card due" if status.watch and (status.watch.waiting or status.watch.damage) else "card"
    paragraphs = "".join(f"<p>{escape(_capitalized(line))}</p>" for line in lines)
    return f'<section class="{css}"><h2>Watch</h2>{paragraphs}</section>'


def _receivers(status: Status) -> str:
    if not status.receivers:
        return ""
    css = "card" if all(report.is_well for report in status.receivers) else "card due"
    lines = "".join(f"<p>{escape(wording.receiver(report, status.at))}</p>" for report in status.receivers)
    return f'<section class="{css}"><h2>Receivers</h2>{lines}</section>'


def _maintenance(status: Status) -> str:
    css = "card due" if status.is_maintenance_due else "card"
    return f'<section class="{css}"><h2>Upkeep</h2><p>{escape(_capitalized(wording.maintenance(status)))}</p></section>'


def _tables(status: Status) -> str:
    rows = "".join(
        f'<tr><td>{escape(table.name)}</td><td class="n">{table.rows:,}</td><td class="n">{table.files:,}</td>'
        f'<td class="n wide">{table.small_files:,}</td><td class="n wide">{wording.megabytes(table.bytes)}</td>'
        f'<td class="n wide">{escape(wording.moment(table.last_write, status.at))}</td></tr>'
        for table in status.tables
    )
    head = (
        '<tr><th>Table</th><th class="n">Rows</th><th class="n">Files</th><th class="n wide">Under 1 MB</th>'
        '<th class="n wide">Size</th><th class="n wide">Last written</th></tr>'
    )
    size = escape(wording.size(status))
    return f'<section class="card"><h2>Dataset</h2><p>{size}</p><table>{head}{rows}</table></section>'
