"""The kernels behind pages: how they start and end."""

import asyncio
import os
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import tornado.web
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.utils import ensure_async
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager, ServerKernelManager

from missioncontrol_nb.dashboard.server import fork_server
from missioncontrol_nb.dashboard.server.settings import kernel_environment

COMMAND = (sys.executable, "-P", "-m", "missioncontrol_nb.dashboard.server.kernel")


async def end_kernel(manager: Any, kernel_id: str) -> None:
    """Ends a kernel, unless it has already ended; logs a kernel that cannot be ended."""
    try:
        with suppress(KeyError, tornado.web.HTTPError):
            await ensure_async(manager.shutdown_kernel(kernel_id, now=True))
    except (Exception, asyncio.CancelledError):  # Voilà first reads all pooled pages' results; a cancelled one raises
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        manager.log.exception("A kernel could not be ended")


class PatientKernelManager(AsyncMappingKernelManager):
    """Culls a kernel that no page is connected to at the second check, a dead kernel at the first.

    A preheated kernel may have been idle for long when it is handed out. Without the second check it could be culled
    before the visitor's browser has connected to it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._seen_alone: set[str] = set()
        self.fork_server = fork_server.ForkServer()

    async def start_kernel(self, **options: Any) -> str:  # type: ignore[override]
        """Starts a kernel with only those of the server's environment variables that it needs."""
        options["env"] = kernel_environment(options.get("env") or os.environ)
        return await super().start_kernel(**options)

    async def _async_shutdown_kernel(self, kernel_id: str, **options: Any) -> None:  # type: ignore[override]
        """Ends a kernel when all are ended; one that has ended meanwhile by itself must not keep the others."""
        if kernel_id in self:
            with suppress(KeyError):
                await super()._async_shutdown_kernel(kernel_id, **options)

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Called for each kernel at each culling interval."""
        if not await ensure_async(self.get_kernel(kernel_id).is_alive()):
            await ensure_async(self.shutdown_kernel(kernel_id, now=True))
        elif self._kernel_connections.get(kernel_id, 0):
            self._seen_alone.discard(kernel_id)
        elif kernel_id not in self._seen_alone:
            self._seen_alone.add(kernel_id)
        else:
            await super().cull_kernel_if_idle(kernel_id)


class ForkingProvisioner(LocalProvisioner):
    """Starts a kernel as a fork of a process that has imported what it needs."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Starts the kernel; cmd: COMMAND and its arguments. Raises OSError where it cannot be started."""
        assert self.parent is not None
        folder, fork = kwargs.get("cwd"), self.parent.parent.fork_server.fork
        name = f"page-{self.kernel_id[:8]}"
        forking = asyncio.create_task(
            asyncio.to_thread(fork, name, cmd[len(COMMAND) :], kwargs["env"], folder and str(folder))
        )
        try:
            process = await asyncio.shield(forking)
        except asyncio.CancelledError:  # nobody would know of the process that is being forked
            forking.add_done_callback(_kill)
            raise
        self.process, self.pid, self.cwd = process, process.pid, folder or Path.cwd()
        return self.connection_info


def _kill(forking: "asyncio.Task[fork_server.ForkedProcess]") -> None:
    if not forking.cancelled() and forking.exception() is None:
        forking.result().kill()


class ForkingKernelManager(ServerKernelManager):
    """The manager of a page's kernel, which is forked where the system can do that."""

    async def _async_pre_start_kernel(self, **options: Any) -> Any:
        if self.provisioner is None and fork_server.IS_AVAILABLE:
            self.kernel_id = self.kernel_id or options.pop("kernel_id", None) or str(uuid.uuid4())
            self.provisioner = ForkingProvisioner(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
        return await super()._async_pre_start_kernel(**options)


class OwnKernelSpecManager(KernelSpecManager):
    """Provides only one kernel: this Python with `missioncontrol_nb.dashboard.server.kernel`."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The only kernel, for any name in the notebook."""
        argv = [*COMMAND, "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Mission Control", language="python", env={})

    def find_kernel_specs(self) -> dict[str, str]:
        """The names of kernels and their folders; this kernel has no folder."""
        return {"python3": ""}

    def get_all_specs(self) -> dict[str, Any]:
        """All specifications by name."""
        return {"python3": {"resource_dir": "", "spec": self.get_kernel_spec("python3").to_dict()}}
