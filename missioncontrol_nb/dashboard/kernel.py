"""The kernel behind a visitor's page: ipykernel, without what a page never uses."""

import sys

# altair -> jsonschema -> rfc3987_syntax builds a grammar for a second at import; nothing here checks such names
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

ARGUMENTS = ("--HistoryManager.enabled=False", "--InteractiveShellApp.ignore_cwd=True")


def main() -> None:
    """Runs the kernel; the server gives the connection file as arguments."""
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance(argv=[*sys.argv[1:], *ARGUMENTS])


if __name__ == "__main__":
    main()
