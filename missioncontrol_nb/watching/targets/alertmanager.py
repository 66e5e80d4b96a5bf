"""Alertmanager, by its v2 API: alarms are alerts, which it groups, routes, silences and ends."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from missioncontrol_nb.watching.outbox import AWAY
from missioncontrol_nb.watching.state import Finding, Message
from missioncontrol_nb.watching.targets.target import About
from missioncontrol_nb.watching.targets.webhooks import Posted
from missioncontrol_nb.watching.wording import line_of, subject_of, title_of

API = "/api/v2/alerts"
STAYS_UP = AWAY  # how long an alert stays up after the watch has ended
_STALE = "Data are stale; nothing is judged until they are fresh again"


class Alertmanager(Posted):
    """An Alertmanager. Alerts that are up are repeated while the watch runs, as it wants; quiet hours are its own."""

    is_ever_quiet = False
    refresh_seconds = 60.0

    def send(self, message: Message, about: About) -> None:
        """Posts the alerts of a message. Raises DeliveryError."""
        alerts = self.body(message, about)
        if alerts:
            self.post(alerts, API)

    def body(self, message: Message, about: About) -> list[Mapping[str, Any]]:
        """The alerts of a message. Those that are over end now."""
        if message.kind == "alarms":
            return [alert for finding in message.findings for alert in _alerts(finding, about)]
        if message.kind == "test":
            return [_alert({"alertname": "MissionControlTest"}, title_of(message), about, timedelta(minutes=1))]
        return [_stale(message.kind == "stale", title_of(message), about)]

    def refresh(self, up: Sequence[Finding], *, is_stale: bool, about: About) -> None:
        """Posts what is up again. Raises DeliveryError."""
        alerts = [alert for finding in up for alert in _alerts(finding, about)]
        if is_stale:
            alerts.append(_stale(True, _STALE, about))
        if alerts:
            self.post(alerts, API)


def _alerts(finding: Finding, about: About) -> Iterator[Mapping[str, Any]]:
    """The alert of a finding; for an alarm of what may have looked bad before, also the end of that."""
    severity = "warning" if finding.looks_bad else "critical"
    yield _of_finding(finding, severity, about, is_up=finding.kind != "recovered")
    if about.tells_looks_bad and not finding.looks_bad:
        yield _of_finding(finding, "warning", about, is_up=False)


def _of_finding(finding: Finding, severity: str, about: About, *, is_up: bool) -> Mapping[str, Any]:
    event, page = finding.event, about.page([finding])
    labels = {
        "alertname": "MissionControlRelease",
        "severity": severity,
        **{name: event[name] for name in ("application", "channel", "os_name", "measure")},
        "display_version": event["display_version"] or "all",
        "finding": finding.key,
    }
    alert = _alert(labels, subject_of(finding), about, STAYS_UP if is_up else timedelta(), line_of(finding))
    starts = min(datetime.fromisoformat(event["detected_at"]), datetime.now(UTC)).isoformat()
    return alert | ({"startsAt": starts} if is_up else {}) | ({"generatorURL": page} if page else {})


def _stale(is_up: bool, summary: str, about: About) -> Mapping[str, Any]:
    labels = {"alertname": "MissionControlDataStale", "severity": "warning"}
    return _alert(labels, summary, about, STAYS_UP if is_up else timedelta())


def _alert(
    labels: Mapping[str, str], summary: str, about: About, lasts: timedelta, description: str = ""
) -> dict[str, Any]:
    annotations = {"summary": summary} | ({"description": description} if description else {})
    return {
        "labels": {**labels, "product": about.product, "dataset": about.dataset},
        "annotations": annotations,
        "endsAt": (datetime.now(UTC) + lasts).isoformat(),
    }
