"""Single Glean pings of the simulated fleet, as the ingestion pipeline decodes them: crash and baseline.

Metrics, their types and the envelope are those of pings that Firefox 153 sent.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from typing import Any
from zlib import crc32

from missioncontrol_nb.releases.versions import major_of
from missioncontrol_nb.simulator.builds import Build
from missioncontrol_nb.simulator.ping_bodies import FIREFOX_ID
from missioncontrol_nb.simulator.ping_templates import LOCALES, as_uuid, time_text
from missioncontrol_nb.simulator.population import Experiment, utc_offset_hours
from streaming import contract

Document = dict[str, Any]
NO_DUMP = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of an empty file
# Firefox itself sent some Glean crash pings until 148, and legacy ones beside them until 149; since then, the crash
# reporter sends all of them.
LAST_WITH_OWN_CRASH_PINGS, LAST_WITH_LEGACY_CRASH_PINGS = 148, 149
SDK, REPORTER_VERSION = "67.3.2", "1.0.0"
OS = {"Windows_NT": "Windows", "Darwin": "Darwin", "Linux": "Linux"}
_NORMALIZED_OS = {"Windows_NT": "Windows", "Darwin": "Mac", "Linux": "Linux"}
_ARCHITECTURES = {"x86-64": "x86_64"}
_CPUS = {"x86-64": "amd64", "aarch64": "arm64"}


def sends_legacy_crash_pings(build: Build) -> bool:
    """Whether a build reports crashes of main and content processes by legacy crash pings too."""
    return major_of(build.version) <= LAST_WITH_LEGACY_CRASH_PINGS


@dataclass(frozen=True)
class Client:
    """A client of a build. identity: 32 random bytes; enrolment: an experiment and the client's branch."""

    build: Build
    country: str
    os_version: str
    architecture: str
    enrolment: tuple[Experiment, str] | None
    identity: bytes

    @property
    def utc_offset_hours(self) -> float:
        """How many hours its clock is ahead of UTC."""
        return utc_offset_hours(self.country)

    @property
    def locale(self) -> str:
        """Its language."""
        return LOCALES.get(self.country, "en-US")

    def uuid(self, purpose: str) -> str:
        """An id of the client for a purpose."""
        mask = crc32(purpose.encode()).to_bytes(4) * 4
        return as_uuid(bytes(a ^ b for a, b in zip(self.identity, mask, strict=False)).hex()).decode()


@dataclass(frozen=True)
class Crash:
    """A crash. moment: in seconds since 1970; minidump_hash: None without a dump; memory: bytes of the machine."""

    process: str
    moment: float
    event_id: str
    minidump_hash: str | None
    uptime_ms: int
    memory: int
    is_at_startup: bool = False
    is_shutdown_kill: bool = False
    remote_type: str | None = None


def local_text(moment: float, offset_hours: float, precision: str = "milliseconds") -> str:
    """A moment (seconds since 1970) as clients write it: local time with its offset from UTC."""
    zone = timezone(timedelta(hours=offset_hours))
    return datetime.fromtimestamp(moment, zone).isoformat(timespec=precision)


def crash_ping(client: Client, crash: Crash, reason: str, ended: float, submitted: float, document_id: str) -> bytes:
    """A crash ping. ended, submitted: when it was made and when it arrived, in seconds since 1970."""
    is_old = major_of(client.build.version) <= LAST_WITH_OWN_CRASH_PINGS
    is_at_once = crash.process == "main" and reason == "crash"
    namespace = "firefox-desktop" if is_old and not is_at_once else "firefox-crashreporter"
    metrics = {
        "string": _crash_strings(client, crash),
        "object": {},
        "datetime": {"crash.time": local_text(crash.moment, client.utc_offset_hours, "seconds")},
        "boolean": {
            "environment.headless_mode": False,
            "crash.dom_fission_enabled": True,
            "crash.startup": crash.is_at_startup,
        },
        "quantity": _memory(crash.memory),
        "timespan": {
            "crash.install_time": _timespan(int(client.build.out) + 3600, "second"),
            "crash.last_interaction_duration": _timespan(crash.uptime_ms // 4000, "second"),
            "environment.uptime": _timespan(crash.uptime_ms, "millisecond"),
            "crash.startup_time": _timespan(int(crash.moment) - crash.uptime_ms // 1000, "second"),
        },
    }
    lists = {}
    if crash.process == "utility":
        lists["crash.utility_actors_name"] = ["audio-decoder-generic"]
    if client.enrolment is not None:
        experiment, branch = client.enrolment
        lists["environment.nimbus_enrollments"] = [f"{experiment.id}:{branch}"]
    if lists:
        metrics["string_list"] = lists
    return _encoded(client, namespace, "crash", document_id, submitted, _ping_info(client, reason, ended), metrics)


def baseline_ping(client: Client, reason: str, ticks: int, ended: float, submitted: float, document_id: str) -> bytes:
    """A baseline ping. ticks: times of five seconds with activity; a ping without any lacks the counter."""
    strings = {"usage.distribution_id": "default"}
    if reason == "active":
        strings["startup.profile_selection_reason"] = "default"
    metrics: Document = {
        "object": {"glean.distribution.ext": {}},
        "uuid": {
            "legacy.telemetry.client_id": client.uuid("legacy"),
            "legacy.telemetry.profile_group_id": client.uuid("group"),
        },
        "string": strings,
        "boolean": {"policies.is_enterprise": False, "usage.is_default_browser": client.identity[20] < 160},
        "labeled_counter": {"glean.validation.pings_submitted": {"baseline": 1}},
    }
    if ticks:
        consecutive = {"active_ticks": {"values": {str(ticks): 1}, "sum": ticks}}
        metrics["counter"] = {"browser.engagement.active_ticks": ticks}
        metrics["labeled_custom_distribution"] = {"browser.engagement.consecutive_active_ticks": consecutive}
    if reason == "inactive":  # After 20 minutes without activity
        metrics["timespan"] = {"glean.baseline.duration": _timespan(ticks * 5 + 1200, "second")}
    info = _ping_info(client, reason, ended)
    if client.enrolment is not None:
        experiment, branch = client.enrolment
        info["experiments"] = {experiment.id: {"branch": branch, "extra": {"type": "nimbus-nimbus"}}}
    return _encoded(client, "firefox-desktop", "baseline", document_id, submitted, info, metrics)


def _crash_strings(client: Client, crash: Crash) -> dict[str, str]:
    build, os_name = client.build, client.build.os_name
    strings = {
        "crash.useragent_locale": client.locale,
        "crash.process_type": crash.process,
        "crash.product_id": FIREFOX_ID,
        "crash.product_name": build.application,
        "crash.cpu_architecture": _CPUS.get(client.architecture, client.architecture),
        "crash.cpu_info": f"family 6 model {client.identity[21]} stepping 1",
        "crash.event_id": crash.event_id,
        "crash.os": OS[os_name],
        "crash.os_version": client.os_version,
        "crash.app_display_version": build.version,
        "crash.app_channel": build.channel,
        "crash.app_build": build.build_id,
    }
    if os_name == "Linux":
        strings["crash.os_version"] = f"{client.os_version}-41-generic #1 SMP PREEMPT_DYNAMIC"
        strings["crash.linux_lsb_description"] = "Debian GNU/Linux 12 (bookworm)"
        strings["crash.linux_memory_psi"] = "0,0,0,0,0,0,0,0"
    if crash.minidump_hash is not None:
        strings["crash.minidump_sha256_hash"] = crash.minidump_hash
    if crash.is_shutdown_kill:
        strings["crash.ipc_channel_error"] = "ShutDownKill"
    if crash.remote_type is not None:
        strings["crash.remote_type"] = crash.remote_type
    return strings


def _memory(total: int) -> dict[str, int]:
    return {
        "memory.total_physical": total,
        "crash.event_loop_nesting_level": 1,
        "memory.total_page_file": total + (4 << 30),
        "memory.available_swap": 4 << 30,
        "memory.available_physical": total // 3,
        "memory.available_commit": total // 4,
        "memory.available_virtual": total * 8,
    }


def _timespan(value: int, unit: str) -> Document:
    return {"value": value, "time_unit": unit}


def _ping_info(client: Client, reason: str, ended: float) -> Document:
    offset = client.utc_offset_hours
    began = ended - 60 - 40 * client.identity[22]
    return {
        "seq": client.identity[23] + (reason == "event_found"),
        "start_time": local_text(began // 1, offset),
        "end_time": local_text(ended, offset),
        "reason": reason,
    }


def _client_info(client: Client, namespace: str, submitted: float) -> Document:
    build, os_name = client.build, client.build.os_name
    first_run = datetime.fromtimestamp(build.out, UTC) - timedelta(days=client.identity[24])
    info: Document = {
        "telemetry_sdk_build": SDK,
        "app_build": build.build_id,
        "app_display_version": REPORTER_VERSION,
        "architecture": _ARCHITECTURES.get(client.architecture, client.architecture),
        "os": OS[os_name],
        "os_version": glean_os_version(client),
        "build_date": "1970-01-01T00:00:00+00:00",
        "first_run_date": f"{first_run:%Y-%m-%d}{local_text(submitted, client.utc_offset_hours)[-6:]}",
        "client_id": client.uuid(namespace),
    }
    if namespace == "firefox-desktop":
        built = datetime.strptime(build.build_id, "%Y%m%d%H%M%S")
        info |= {
            "app_channel": build.channel,
            "app_display_version": build.display_version,
            "locale": client.locale,
        }
        if build.is_official:
            info["build_date"] = f"{built.isoformat()}+00:00"
    if os_name == "Windows_NT":
        info["windows_build_number"] = 26100 if client.identity[25] < 190 else 19045
    return info


def glean_os_version(client: Client) -> str:
    """The version of the operating system as Glean reports it: on Linux the first two numbers of the kernel's."""
    return ".".join(client.os_version.split(".")[:2]) if client.build.os_name == "Linux" else client.os_version


def _encoded(
    client: Client,
    namespace: str,
    document_type: str,
    document_id: str,
    submitted: float,
    ping_info: Document,
    metrics: Mapping[str, Any],
) -> bytes:
    """The bytes of a ping in its envelope, whose country is absent where the lookup found none."""
    os_name, is_known = client.build.os_name, client.country != contract.UNKNOWN_COUNTRY
    info = _client_info(client, namespace, submitted)
    document: Document = {
        "submission_timestamp": time_text(submitted, "microseconds").decode(),
        "metadata": {
            "geo": {"country": client.country} if is_known else {},
            "isp": {},
            "user_agent": {},
            "header": {
                "date": formatdate(submitted, usegmt=True),
                "x_telemetry_agent": f"Glean/{SDK} (Rust on {OS[os_name]})",
            },
            "document_namespace": namespace,
            "document_type": document_type,
            "document_version": "1",
        },
        "normalized_os": _NORMALIZED_OS[os_name],
        "normalized_os_version": info["os_version"],
        "document_id": document_id,
        "sample_id": crc32(info["client_id"].encode()) % 100,
    }
    if "app_channel" in info:
        document["normalized_channel"] = client.build.channel
    if is_known:
        document["normalized_country_code"] = client.country
    document |= {"ping_info": ping_info, "client_info": info, "metrics": metrics}
    return json.dumps(document, separators=(",", ":")).encode()
