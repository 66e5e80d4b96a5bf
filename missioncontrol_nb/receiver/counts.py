"""Counts what a receiver has done, and shows it in Prometheus' text format."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

PREFIX = "missioncontrol_receiver_"


@dataclass
class Counts:
    """Totals since the start, by names of kinds that are counted and reasons of ours: never by a client's text."""

    kept: Counter[str] = field(default_factory=Counter)  # by kind
    passed_over: Counter[str] = field(default_factory=Counter)  # by reason
    refused: Counter[str] = field(default_factory=Counter)  # by reason, answered 4xx: clients drop these
    not_kept: Counter[str] = field(default_factory=Counter)  # by reason, answered 5xx: clients send these again
    answers: Counter[int] = field(default_factory=Counter)  # by status
    kept_bytes: int = 0
    recovered_files: int = 0
    started: float = field(default_factory=lambda: datetime.now(UTC).timestamp())
    last_kept: float = 0.0  # seconds since 1970; 0: nothing yet

    def as_record(self, problem: str) -> dict[str, object]:
        """For `missioncontrol status`. problem: why pings cannot be kept; "" where they can."""
        return {
            "kept": sum(self.kept.values()),
            "kept_by_kind": dict(self.kept),
            "passed_over": dict(self.passed_over),
            "refused": dict(self.refused),
            "not_kept": dict(self.not_kept),
            "recovered_files": self.recovered_files,
            "started": self.started,
            "last_kept": self.last_kept,
            "problem": problem,
        }

    def as_metrics(self, open_requests: int, problem: str) -> str:
        """All of it, each family with its help text."""
        families: list[tuple[str, str, str, list[tuple[str, float]]]] = [
            ("kept_pings_total", "counter", "Pings that were kept and answered 200.", _by("kind", self.kept)),
            ("passed_over_pings_total", "counter", "Pings that were answered 200 and not kept: nobody counts them.",
             _by("reason", self.passed_over)),
            ("refused_requests_total", "counter", "Requests that were answered 4xx: clients drop such pings.",
             _by("reason", self.refused)),
            ("not_kept_pings_total", "counter", "Pings that were answered 5xx: clients send them again.",
             _by("reason", self.not_kept)),
            ("answers_total", "counter", "Answers by status.", _by("status", self.answers)),
            ("kept_bytes_total", "counter", "Bytes of the documents that were kept.", [("", self.kept_bytes)]),
            ("recovered_files_total", "counter", "Files that a killed receiver left, finished at this start.",
             [("", self.recovered_files)]),
            ("open_requests", "gauge", "Requests that are not answered yet.", [("", open_requests)]),
            ("cannot_keep", "gauge", "Whether pings cannot be kept now.", [("", int(bool(problem)))]),
            ("start_timestamp_seconds", "gauge", "When this receiver started.", [("", self.started)]),
            ("last_kept_timestamp_seconds", "gauge", "When the newest ping was kept.",
             [("", self.last_kept)] if self.last_kept else []),
        ]  # fmt: skip
        return "".join(_family(*each) for each in families)


def _by(label: str, counts: "Counter[str] | Counter[int]") -> list[tuple[str, float]]:
    return [(f'{{{label}="{name}"}}', count) for name, count in sorted(counts.items(), key=str)]


def _family(name: str, kind: str, help_text: str, samples: list[tuple[str, float]]) -> str:
    lines = [f"# HELP {PREFIX}{name} {help_text}", f"# TYPE {PREFIX}{name} {kind}"]
    return "\n".join([*lines, *(f"{PREFIX}{name}{labels} {value!r}" for labels, value in samples)]) + "\n"
