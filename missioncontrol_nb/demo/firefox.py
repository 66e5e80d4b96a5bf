"""A Firefox with a profile of its own whose telemetry, crash reporter included, reaches a receiver on this machine."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from missioncontrol_nb.aggregator_process import MISSIONCONTROL
from missioncontrol_nb.demo.offline import OfflineNetwork
from streaming.errors import MissionControlError
from streaming.storage.temporary import short_parent, temporary_folder

PROGRAMS = ("firefox", "firefox-esr", "firefox-beta", "firefox-nightly")
PORT, TLS_PORT = 8080, 8443  # nothing else listens on that network
PREFERENCES: dict[str, bool | int | str] = {
    # Telemetry is sent, without asking first, to the receiver: Telemetry's own pings, then Glean's.
    "datareporting.healthreport.uploadEnabled": True,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "toolkit.telemetry.server": f"http://127.0.0.1:{PORT}",
    "telemetry.fog.test.localhost_port": PORT,
    "toolkit.telemetry.send.overrideOfficialCheck": True,  # for builds that are not Mozilla's
    "toolkit.telemetry.initDelay": 1,  # seconds, instead of a minute
    "toolkit.telemetry.minSubsessionLength": 0,  # seconds, instead of 5 minutes, until a main ping may be sent
    # Nothing asks, and nothing else looks for a server.
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.sessionstore.resume_from_crash": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "http://127.0.0.1:9/none",
}
# The crash reporter sends to a fixed address, by curl, which reads this file in the folder HOME.
_CURL_SETTINGS = f'insecure\nconnect-to = "::127.0.0.1:{TLS_PORT}"\n'
# What a window needs; not among them: proxies, and folders of the user's own settings.
_KEPT_VARIABLES = ("PATH", "LANG", "TZ", "DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR",
    "XDG_SESSION_TYPE", "DBUS_SESSION_BUS_ADDRESS", "LD_LIBRARY_PATH",
)  # fmt: skip
_CRASH_SIGNALS = {signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV}
_RECEIVER_TIMEOUT_SECONDS = 120.0


def find_firefox(program: str = PROGRAMS[0]) -> str:
    """The path of a Firefox: that of the given name or path; for "firefox" the first of PROGRAMS that is installed.

    Raises MissionControlError where it, or what the crash reporter's pings need, is not there.
    """
    names = PROGRAMS if program == PROGRAMS[0] else [program]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise MissionControlError(f"no Firefox is found as {' or '.join(names)}: name its program with --firefox")
    for needed in ("openssl", "curl"):
        if shutil.which(needed) is None:
            raise MissionControlError(f"Firefox's crash reporter reaches the receiver with {needed}: install it")
    return str(Path(found).absolute())


def make_certificate(path: Path) -> None:
    """Write a certificate for 127.0.0.1, valid for 30 days, and its key to one file."""
    key = path.with_suffix(".key")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(path)]
    try:
        subprocess.run([*made, *files], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise MissionControlError(f"openssl makes no certificate: {error.stderr}") from None
    path.write_text(path.read_text() + key.read_text())


@contextmanager
def offline_firefox(
    program: str,
    pings: Path,
    *,
    is_headless: bool,
    arguments: Sequence[str] = (),
    preferences: Mapping[str, bool | int | str] | None = None,
    stop: threading.Event | None = None,
) -> Iterator["OfflineFirefox"]:
    """A Firefox that is yet to be opened, and a receiver that writes its pings, while a context lasts.

    pings: the receiver's folder; arguments, preferences: more of Firefox's; stop: ends the wait for the receiver when
    it is set, with a MissionControlError.
    """
    stop = stop or threading.Event()
    with temporary_folder("missioncontrol-firefox-", short_parent()) as home:
        network = OfflineNetwork(stop)
        try:
            yield OfflineFirefox(
                network, program, pings, home, is_headless, arguments, {**PREFERENCES, **(preferences or {})}, stop
            )
        finally:
            network.end()


class OfflineFirefox:
    """A Firefox and a receiver on an OfflineNetwork. home: Firefox's folder HOME, with its profile and its log."""

    def __init__(
        self,
        network: OfflineNetwork,
        program: str,
        pings: Path,
        home: Path,
        is_headless: bool,
        arguments: Sequence[str],
        preferences: Mapping[str, bool | int | str],
        stop: threading.Event,
    ) -> None:
        self.network, self.home = network, home
        self._log = home / "firefox.log"
        profile = home / "profile"
        profile.mkdir()
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
        (profile / "user.js").write_text("".join(lines))
        (home / ".curlrc").write_text(_CURL_SETTINGS)
        self._command = [program, "--no-remote", "--profile", str(profile), *arguments]
        self._environment = _environment(home, is_headless)
        self._opened_at = monotonic()
        certificate = home / "certificate.pem"
        make_certificate(certificate)
        network.relay(TLS_PORT, PORT, certificate)
        self._start_receiver(pings, stop)

    def _start_receiver(self, pings: Path, stop: threading.Event) -> None:
        log = self.home / "receiver.log"
        options = ["--listen", str(PORT), "--metrics", "none", "--file-seconds", "1", "--to", str(pings.absolute())]
        self.network.start("receiver", [*MISSIONCONTROL, "receive", *options], os.environ, log)
        deadline = monotonic() + _RECEIVER_TIMEOUT_SECONDS
        while not (log.exists() and "/submit/" in log.read_text()):
            if self.network.exit_code("receiver") is not None or monotonic() > deadline or stop.wait(0.05):
                raise MissionControlError(f"the receiver did not start: {log.read_text() if log.exists() else ''}")

    def open(self, *pages: str) -> None:
        """Start Firefox."""
        self._opened_at = monotonic()
        self.network.start("firefox", [*self._command, *pages], self._environment, self._log)

    def crash(self) -> None:
        """Make the main process crash, as by a bad pointer."""
        self.network.send_signal("firefox", signal.SIGSEGV)

    @property
    def exit_code(self) -> int | None:
        """The exit code of Firefox's main process, negative for a signal; None while it runs."""
        return self.network.exit_code("firefox")

    @property
    def open_seconds(self) -> float:
        """How long ago Firefox was opened last, seconds."""
        return monotonic() - self._opened_at

    @property
    def has_crashed(self) -> bool:
        """Whether Firefox's main process has crashed: it then exits with the number of a signal, or dies of it."""
        return abs(self.exit_code or 0) in _CRASH_SIGNALS

    def last_lines(self, number: int = 15) -> list[str]:
        """The last lines of Firefox's log."""
        return self._log.read_text(errors="replace").splitlines()[-number:]


def _environment(home: Path, is_headless: bool) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    authority = Path.home() / ".Xauthority"
    if "XAUTHORITY" not in kept and authority.exists():
        kept["XAUTHORITY"] = str(authority)
    crashes = {"MOZ_CRASHREPORTER": "1", "MOZ_CRASHREPORTER_AUTO_SUBMIT": "1"}  # its ping is sent, no window asks
    return {**kept, **crashes, "HOME": str(home), **({"MOZ_HEADLESS": "1"} if is_headless else {})}
