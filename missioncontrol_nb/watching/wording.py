"""Messages as text: one sentence as the title, a line for each event, and what was missed."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from missioncontrol_nb import alarm_words, formatting
from missioncontrol_nb.watching.state import Finding, Message, Missed
from streaming.errors import printable

_LABELS = {"alarm": "Bad", "update": "Changed", "looks bad": "Looks bad", "recovered": "Over"}
_ORDER = tuple(_LABELS)
MOST_LINES = 20
MOST_NAMED = 2  # measures and versions in a title


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
    worst = ordered[0]
    alike = [each for each in ordered if (each.kind, each.words.channel) == (worst.kind, worst.words.channel)]
    rest = len(ordered) - len(alike)
    return _plain(_sentence(alike)) + (f", and {rest} more {'change' if rest == 1 else 'changes'}" if rest else "")


def lines_of(message: Message) -> list[str]:
    """The lines under the title: the events, of a single one its figures alone, and what was missed."""
    lines = [line_of(finding) for finding in _ordered(message.findings)[:MOST_LINES]]
    if len(lines) == 1:
        lines = list(filter(None, [lines[0].removeprefix(_title(message)).removeprefix(".").strip()]))
    if len(message.findings) > MOST_LINES:
        lines.append(f"And {len(message.findings) - MOST_LINES} more.")
    return [printable(line) for line in [*lines, *([missed_line(message.missed)] if message.missed else [])]]


def as_text(message: Message) -> str:
    """The title and the lines."""
    return "\n".join([title_of(message), *lines_of(message)])


def line_of(finding: Finding) -> str:
    """An event in one sentence, and its figures."""
    event, said = finding.event, [_sentence([finding]), finding.change]
    rate, expected, (ratio, lower, upper) = event["observed_rate"], event["expected_rate"], _ratio(finding)
    if finding.kind != "recovered" and rate and expected and lower is not None and upper is not None:
        interval = alarm_words.size_interval(ratio, lower, upper)
        said += [alarm_words.rates(rate, expected * lower, expected * upper, expected, interval)]
        said += [alarm_words.slice_words(event["slice"]).removesuffix(".")]
    return _plain(". ".join(each[0].upper() + each[1:] for each in said if each) + ".")


def subject_of(finding: Finding) -> str:
    """What an event is about: "content crashes of Firefox 56.0 (release) on Windows"."""
    words = finding.words
    return f"{words.measure} of {_version(finding)} ({words.channel}) on {words.platform}"


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


def _sentence(findings: Sequence[Finding]) -> str:
    """Findings of one kind and channel in one sentence, as pages say it of one; of several, the largest ratio."""
    worst, is_over = findings[0], findings[0].kind == "recovered"
    measures, platforms, versions = (
        list(dict.fromkeys(names))
        for names in zip(*((each.words.measure, each.words.platform, _version(each)) for each in findings), strict=True)
    )
    what = " and ".join(measures) if len(measures) <= MOST_NAMED else f"{len(measures)} measures"
    more = f" and {len(versions) - MOST_NAMED} more" if len(versions) > MOST_NAMED else ""
    is_one, when = len(findings) == 1, worst.event["since"]
    size = alarm_words.excess(what, *_ratio(worst))
    return alarm_words.sentence(
        _LABELS[worst.kind],
        " and ".join(platforms),
        " and ".join(versions[:MOST_NAMED]) + more,
        worst.words.channel,
        alarm_words.back(what) if is_over else size if is_one or not worst.ratio else f"up to {size}",
        f"since {_moment(when)}" if when and is_one and not is_over else "",
        is_one=len(versions) == 1 and worst.event["display_version"] is not None,
    )


def _plain(words: str) -> str:
    """Words without the spaces of pages that `printable` escapes."""
    return words.replace(formatting.FIXED_SPACE, " ").replace(formatting.NARROW_SPACE, " ")


def _version(finding: Finding) -> str:
    version, product = finding.event["display_version"], finding.words.product
    return f"{product} {version}" if version else f"all {product} versions"


def _ratio(finding: Finding) -> tuple[float | None, float | None, float | None]:
    return finding.ratio, finding.event["lower"], finding.event["upper"]


def _moment(text: str) -> str:
    return formatting.moment(datetime.fromisoformat(text))


def _newest(message: Message) -> str:
    newest = message.data_up_to
    if newest is None:
        return "no ping is known yet"
    age = formatting.age_in_words(max((message.as_of or message.created_at) - newest, timedelta()))
    return f"the newest ping is of {formatting.moment(newest)}, {age} old"
