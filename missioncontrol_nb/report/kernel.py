"""The kernel that runs a report's notebook: a process of this environment's Python."""

from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default
from traitlets.config import Config


class OwnKernel(AsyncKernelManager):
    """Starts the kernel of this Python, whichever others have been installed for Jupyter under the same name."""

    @default("kernel_spec_manager")
    def _of_this_python(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])  # looked up nowhere, so that ipykernel's own is left


def kernel_options(folder: Path) -> dict[str, object]:
    """papermill's options for such a kernel.

    It has Unix sockets: no port that others on this machine reach, and no file outside a folder.
    """
    places = {"transport": "ipc", "ip": str(folder / "k"), "connection_file": str(folder / "kernel.json")}
    return {
        "kernel_name": "python3",
        "kernel_manager_class": OwnKernel,
        "extra_arguments": ["--log-level=CRITICAL"],
        "config": Config(KernelManager=places),
    }
