"""The kernel behind a visitor's page: ipykernel without unused features, with errors in the server's log."""

import logging
import os
import sys
from typing import Any

# altair -> jsonschema -> rfc3987_syntax takes a second at import to build a grammar; nothing here validates IRIs
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
sys.modules.setdefault("debugpy", None)  # type: ignore[arg-type]  # ipykernel imports it, but nobody debugs a page
ARGUMENTS = (
    "--HistoryManager.enabled=False",
    "--InteractiveShellApp.ignore_cwd=True",
    "--InteractiveShell.xmode=Minimal",  # a full traceback takes 60 ms to format, and no page shows it
)
log = logging.getLogger(__name__)


def main() -> None:
    """Runs the kernel; the server passes the connection file as arguments."""
    from ipykernel import kernelapp

    _log_to_server()
    setattr(kernelapp, "IOPubThread", _without_pipe(kernelapp.IOPubThread))  # noqa: B010 (a class is not assigned to)
    app = kernelapp.IPKernelApp.instance()
    app.initialize([*sys.argv[1:], *ARGUMENTS])
    if app.shell is not None:
        app.shell.set_custom_exc((Exception,), _log_error)
    if "ipywidgets" in sys.modules:  # it was imported before there was a kernel to register with
        sys.modules["ipywidgets"].register_comm_target()
    app.start()


def _log_to_server() -> None:
    """Sends logging to the standard error of the server, because ipykernel will redirect its own to the browser."""
    stream = os.fdopen(os.dup(2), "w", buffering=1)
    logging.getLogger("Comm").setLevel(logging.ERROR)  # it warns about each widget of a page that was just closed
    logging.basicConfig(stream=stream, format="[Page %(process)d] %(levelname)s %(name)s: %(message)s")


def _log_error(shell: Any, kind: type, error: BaseException, trace: Any, tb_offset: int | None = None) -> None:
    """Logs the full error that ended the notebook, because the page will only report that there was one."""
    log.error("a page could not be made", exc_info=error)
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def _without_pipe(thread_class: type) -> type:
    """The class without its TCP port for the output of forked processes, because a page's kernel forks none."""

    class IOPubThread(thread_class):
        def __init__(self, socket: Any, pipe: bool = False, session: Any = False) -> None:
            super().__init__(socket, pipe=False, session=session)

    return IOPubThread


if __name__ == "__main__":
    main()
