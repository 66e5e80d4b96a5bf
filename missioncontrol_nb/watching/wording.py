"""Messages as text: one sentence as the title, a line for each event, and what was missed."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from missioncontrol_nb import formatting
from missioncontrol_nb.watching.state import Finding, Message, Missed
from streaming.errors import printable

_LABELS = {"alarm": "Bad", "update": "Changed", "looks bad": "Looks bad", "recovered": "Over"}
_ORDER = tuple(_LABELS)
MOST_LINES = 20
_FROM_TENFOLD = 10


def title_of(message: Message) -> str:
    """A message in one sentence, without a full stop. Pings may name a version by any characters."""
    return printable(_title(message))


def _title(message: Message) -> str:
    if message.kind == "test":
        return "Test: this is what a message of Mission Control's watch looks like; nothing happened"
    if message.kind == "stale":
        return f"Data are stale: {_newest(message)}; nothing is judged until they are fresh again"
    if message.kind == "fresh":
        return f"Data are fresh again: {_newest(message)}"
    if not message.findings:
        return "What came up meanwhile is over again"
    ordered = _ordered(message.findings)
    first = [finding for finding in ordered if finding.kind == ordered[0].kind]
    rest = len(ordered) - len(first)
    more = f", and {rest} more {'change' if rest == 1 else 'changes'}" if rest else ""
    return f"{_LABELS[first[0].kind]}: {_subject(first)}{_times(first)}{more}"


def lines_of(message: Message) -> list[str]:
    """The lines under the title: the events, and what was missed."""
    lines = [line_of(finding) for finding in _ordered(message.findings)[:MOST_LINES]]
    if len(message.findings) > MOST_LINES:
        lines.append(f"And {len(message.findings) - MOST_LINES} more.")
    return [printable(line) for line in [*lines, *([missed_line(message.missed)] if message.missed else [])]]


def as_text(message: Message) -> str:
    """The title and the lines."""
    return "\n".join([title_of(message), *lines_of(message)])


def line_of(finding: Finding) -> str:
    """An event in one sentence with all its figures."""
    event, about = finding.event, f"{_LABELS[finding.kind]}: {subject_of(finding)}"
    since = f"since {_moment(event['since'])}" if event["since"] else ""
    where = ", ".join(f"{formatting.dimension_words(name)} {value}" for name, value in event["slice"].items())
    if finding.kind == "recovered":
        return f"{about}, as expected again or no longer listed{f', it was bad {since}' if since else ''}."
    ratio = _ratio(event)
    rates = ""
    if event["observed_rate"] is not None and event["expected_rate"] is not None:
        observed, expected = _number(event["observed_rate"]), _number(event["expected_rate"])
        rates = f"{observed} in 1000 hours instead of {expected}"
    parts = [ratio, rates, since, f"above all in {where}" if where else "", finding.change]
    return f"{about}, {', '.join(filter(None, parts))}."


def subject_of(finding: Finding) -> str:
    """What an event is about: "content crashes of Firefox 56.0 (release) on Windows"."""
    return _subject([finding])


def missed_line(missed: Missed) -> str:
    """What a target was not told one by one, in one sentence."""
    since = formatting.moment(missed.since)
    why = f"Quiet hours since {since}" if missed.why == "quiet" else f"This could not be delivered since {since}"
    told = f"{missed.messages} {'message is' if missed.messages == 1 else 'messages are'} summed up here"
    if not missed.over:
        return f"{why}: {told}."
    examples = "; ".join(missed.examples)
    more = f"; and {missed.over - len(missed.examples)} more" if missed.over > len(missed.examples) else ""
    return f"{why}: {told}. Came up and is over again: {examples}{more}."


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (_ORDER.index(finding.kind), -(finding.ratio or 0), finding.key))


def _subject(findings: Sequence[Finding]) -> str:
    measures = list(dict.fromkeys(finding.words.measure for finding in findings))
    versions = list(dict.fromkeys(finding.event["display_version"] for finding in findings))
    platforms = list(dict.fromkeys(finding.words.platform for finding in findings))
    words = findings[0].words
    if any(finding.words.channel != words.channel for finding in findings):
        return f"{len(findings)} series, above all {_subject(findings[:1])}"
    what = " and ".join(measures) if len(measures) <= 2 else f"{len(measures)} measures"
    more = f" and {len(versions) - 3} more" if len(versions) > 3 else ""
    named = f"{words.product} {' and '.join(map(str, versions[:3]))}{more}"
    named = f"all {words.product} versions" if None in versions else named
    return f"{what} of {named} ({words.channel}) on {' and '.join(platforms)}"


def _times(findings: Sequence[Finding]) -> str:
    """The largest ratio in words; empty for ends."""
    ratios = [finding.ratio for finding in findings if finding.ratio is not None and finding.kind != "recovered"]
    if not ratios:
        return ""
    up_to = "up to " if len(findings) > 1 else ""
    return f", {up_to}{_figure(max(ratios))} times the expected rate"


def _ratio(event: dict[str, object]) -> str:
    ratio, lower, upper = (event[name] for name in ("rate_ratio", "lower", "upper"))
    if not isinstance(ratio, float) or not isinstance(lower, float) or not isinstance(upper, float):
        return ""
    return f"{_figure(ratio)} times the expected rate ({_figure(lower)} to {_figure(upper)})"


def _figure(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < _FROM_TENFOLD else f"{ratio:.0f}"


def _number(rate: float) -> str:
    return f"{rate:.3g}"


def _moment(text: str) -> str:
    return formatting.moment(datetime.fromisoformat(text))


def _newest(message: Message) -> str:
    newest = message.data_up_to
    if newest is None:
        return "no ping is known yet"
    age = formatting.age_in_words(max((message.as_of or message.created_at) - newest, timedelta()))
    return f"the newest ping is of {formatting.moment(newest)}, {age} old"
