"""Servers for benchmarks/receive.py.

python -m benchmarks.receive_servers aiohttp|uvicorn|granian bare|files PORT FOLDER

`bare` reads the body and answers 200; `files` is the receiver's own handler, with durable answers. uvicorn (with
httptools and uvloop) and granian are not dependencies of the project: whoever compares them installs them.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from missioncontrol_nb.receiver.answering import Receiver, Refusal
from missioncontrol_nb.receiver.files import FileSink


def receiver_of(mode: str, folder: Path) -> Receiver | None:
    return None if mode == "bare" else Receiver(FileSink(folder))


async def status_of(
    receiver: Receiver | None,
    request: tuple[str, str, str],
    headers: Any,
    peer: str,
    read: Callable[[], Awaitable[bytes]],
) -> int:
    """The answer of a receiver to (method, path, query); 200 where there is none."""
    if receiver is None:
        await read()
        return 200
    admitted = receiver.admit(*request, headers)
    if isinstance(admitted, Refusal):
        return receiver.refused(admitted)
    return await receiver.keep(admitted, headers, [], peer, await read())


async def by_aiohttp(mode: str, port: int, folder: Path) -> None:
    from aiohttp import web

    receiver = receiver_of(mode, folder)

    async def answer(request: web.BaseRequest) -> web.Response:
        path, _, query = request.raw_path.partition("?")
        peer = request.transport.get_extra_info("peername")[0] if request.transport else ""
        where = (request.method, path, query)
        return web.Response(status=await status_of(receiver, where, request.headers, peer, request.content.read))

    server = web.Server(answer, auto_decompress=False, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


async def by_uvicorn(mode: str, port: int, folder: Path) -> None:
    import uvicorn

    receiver = receiver_of(mode, folder)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def read() -> bytes:
            parts, is_last = [], False
            while not is_last:
                message = await receive()
                parts.append(message.get("body", b""))
                is_last = not message.get("more_body")
            return b"".join(parts)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        where = (scope["method"], scope["raw_path"].decode(), scope["query_string"].decode())
        status = await status_of(receiver, where, headers, scope["client"][0], read)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    settings: dict[str, Any] = {"access_log": False, "log_level": "error", "http": "httptools", "lifespan": "off"}
    await uvicorn.Server(uvicorn.Config(answer, port=port, backlog=1024, **settings)).serve()


async def by_granian(mode: str, port: int, folder: Path) -> None:
    from granian.constants import HTTPModes
    from granian.server.embed import Server

    receiver = receiver_of(mode, folder)

    async def answer(scope: Any, protocol: Any) -> None:
        where = (scope.method, scope.path, scope.query_string)
        status = await status_of(receiver, where, scope.headers, scope.client, protocol)
        protocol.response_empty(status, [])

    settings: dict[str, Any] = {"http": HTTPModes.http1, "websockets": False, "log_enabled": False, "backlog": 1024}
    await Server(answer, "127.0.0.1", port, **settings).serve()


def main() -> None:
    name, mode, port, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    serve = {"aiohttp": by_aiohttp, "uvicorn": by_uvicorn, "granian": by_granian}[name]
    if name == "uvicorn":
        import uvloop

        uvloop.run(serve(mode, port, folder))
    else:
        asyncio.run(serve(mode, port, folder))


if __name__ == "__main__":
    main()
