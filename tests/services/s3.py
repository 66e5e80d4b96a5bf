"""A real S3 server on a folder, versitygw, built by Go: for the tests, and for a person with `make s3`.

python -m tests.services.s3 [--port 7070] [--bucket pings] [--folder FOLDER]
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.patience import PATIENCE_SECONDS
from tests.services import foreground
from tests.services.ports import free_port

ROOT = Path(__file__).parents[2]
MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
PROGRAM = ROOT / ".cache" / "s3" / "versitygw"
KEYS = ("an-access-key", "a-secret-key")


def missing() -> str | None:
    """What must be installed before the server can be built here, in one line; None when nothing is."""
    if PROGRAM.exists() or shutil.which("go"):
        return None
    return "The S3 server needs Go 1.21 or later; on Debian: apt-get install golang-go"


def program() -> Path:
    """The server, built the first time."""
    if not PROGRAM.exists():
        unfinished = PROGRAM.parent / "unfinished"
        environment = os.environ | {"GOBIN": str(unfinished)}
        subprocess.run(["go", "install", MODULE], env=environment, check=True, stdin=subprocess.DEVNULL)
        (unfinished / PROGRAM.name).replace(PROGRAM)
    return PROGRAM


class S3Server:
    """A server on a free port of this machine that can be killed and started again with all it holds."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder, self.port = folder, port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("buckets", "accounts"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def endpoint(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        command = [program(), "--port", f"127.0.0.1:{self.port}", "--quiet", "--keep-alive"]
        command += ["--iam-dir", self.folder / "accounts", "--iam-cache-disable"]
        command += ["posix", *self._attributes(), self.folder / "buckets"]
        keys = {"ROOT_ACCESS_KEY": KEYS[0], "ROOT_SECRET_KEY": KEYS[1]}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | keys, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the S3 server did not start: see {self.folder / 'server.log'}")
            time.sleep(0.02)

    def _attributes(self) -> list[str | Path]:
        """Options where the filesystem has no extended attributes.

        In files of their own, they are written before the object: a server that is killed between the two leaves one
        that cannot be read and, as it seems to exist, cannot be created either.
        """
        probe, folder = self.folder / "probe", self.folder / "attributes"
        probe.touch()
        try:
            os.setxattr(probe, "user.probe", b"0")
        except OSError:
            folder.mkdir(exist_ok=True)
            return ["--sidecar", folder]
        finally:
            probe.unlink()
        return []

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it in order."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def create(self, bucket: str) -> None:
        """Makes a bucket; one that is there is left alone."""
        (self.folder / "buckets" / bucket).mkdir(exist_ok=True)

    def put(self, url: str, content: bytes) -> None:
        """Writes an object, whole or not at all."""
        self.files.pipe_file(url, content)

    @cached_property
    def files(self):
        """All that the server holds, as fsspec sees it."""
        import s3fs

        key, secret = KEYS
        return s3fs.S3FileSystem(
            key=key, secret=secret, endpoint_url=self.endpoint, use_listings_cache=False, skip_instance_cache=True
        )

    def admit(self, key: str, secret: str) -> None:
        """Makes an account that may do anything."""
        self._administrate("create-user", "--access", key, "--secret", secret, "--role", "admin")

    def dismiss(self, key: str) -> None:
        """Removes an account: whoever still signs with its keys is refused."""
        self._administrate("delete-user", "--access", key)

    def _administrate(self, *command: str) -> None:
        key, secret = KEYS
        who = ["--access", key, "--secret", secret, "--endpoint-url", self.endpoint, "--region", "us-east-1"]
        subprocess.run([program(), "admin", *who, *command], check=True, capture_output=True)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def main() -> int:
    """Runs a server with one bucket until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=7070)
    parser.add_argument("--bucket", default="pings")
    parser.add_argument("--folder", type=Path, help="where objects are kept; default: a new one, removed at the end")
    given = parser.parse_args()
    if said := missing():
        sys.exit(said)

    def describe(server: S3Server) -> str:
        server.create(given.bucket)
        keys = f"AWS_ACCESS_KEY_ID={KEYS[0]} AWS_SECRET_ACCESS_KEY={KEYS[1]}"
        return f"export AWS_ENDPOINT_URL={server.endpoint} {keys}  # and there is s3://{given.bucket}"

    foreground.run(lambda folder: S3Server(folder, given.port), given.folder, describe, given.port)
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
