"""The kernel behind a visitor's page: ipykernel, without what a page never uses."""

import sys
from typing import Any

# altair -> jsonschema -> rfc3987_syntax builds a grammar for a second at import; nothing here checks such names
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

ARGUMENTS = ("--HistoryManager.enabled=False", "--InteractiveShellApp.ignore_cwd=True")


def main() -> None:
    """Runs the kernel; the server gives the connection file as arguments."""
    from ipykernel import kernelapp

    kernelapp.IOPubThread = _without_pipe(kernelapp.IOPubThread)  # type: ignore[attr-defined]
    kernelapp.IPKernelApp.launch_instance(argv=[*sys.argv[1:], *ARGUMENTS])


def _without_pipe(thread_class: type) -> type:
    """The class without its TCP port for the output of forked processes: a page's kernel forks none."""

    class IOPubThread(thread_class):  # type: ignore[misc]
        def __init__(self, socket: Any, pipe: bool = False, session: Any = False) -> None:
            super().__init__(socket, pipe=False, session=session)

    return IOPubThread


if __name__ == "__main__":
    main()
