"""A watch beside a job, in a process of low priority that is started again when it dies and ends with the job."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from missioncontrol_nb.watching.targets import read_targets
from missioncontrol_nb.watching.watch import WatchSettings, state_folder, watch
from streaming import contract
from streaming.child_process import SupervisedProcess, run_beside
from streaming.errors import MissionControlError
from streaming.storage.locations import dataset_url

EVERY_SECONDS = 300.0
STALE_AFTER_SECONDS = 600.0  # as for `missioncontrol status`
_STOP_SECONDS = 10.0
_RETRY_SECONDS = 60.0


class _Request(msgspec.Struct):
    settings: WatchSettings
    targets: tuple[str, ...]


@contextmanager
def watched(
    dataset: str, targets: Sequence[str], state: str | None, on_notice: Callable[[str], None]
) -> Iterator[None]:
    """Watches a dataset in a context. targets: as people write them; state: the folder, None: in a local dataset.

    on_notice: called, from another thread, with what it found, told and could not tell. Raises MissionControlError for
    other targets, and where a folder must be named.
    """
    read_targets(targets)
    url = dataset_url(dataset)
    settings = WatchSettings(
        url, state_folder(url, state), contract.FIREFOX.name, STALE_AFTER_SECONDS, every_seconds=EVERY_SECONDS
    )
    request = msgspec.json.encode(_Request(settings, tuple(targets)), enc_hook=str).decode()
    process = SupervisedProcess("watch", __name__, [request], lambda line: on_notice(f"watch: {line}"), _RETRY_SECONDS)
    process.start()
    try:
        yield
    finally:
        process.stop(_STOP_SECONDS)


def main() -> None:
    """Watches as the first argument says, until standard input ends."""
    request = msgspec.json.decode(sys.argv[1], type=_Request, dec_hook=lambda kind, text: kind(text))
    stop = threading.Event()
    run_beside(stop, _STOP_SECONDS)
    try:
        watch(request.settings, read_targets(request.targets), stop, _print, _print)
    except MissionControlError as error:
        _print(str(error))
        sys.exit(1)


def _print(line: str) -> None:
    with suppress(BrokenPipeError):  # the job has ended
        print(line, flush=True)


if __name__ == "__main__":
    main()
