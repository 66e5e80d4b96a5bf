"""Reads files of settings for Kafka's client and for Spark."""

import os
import re
import select
import stat
import time
from pathlib import Path

from streaming.errors import MissionControlError

PIPE_TIMEOUT_SECONDS = 10.0  # timeout for a process to open a pipe for writing
MAX_FILE_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$/:*-]*", re.ASCII)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def read_config(path: str | Path, option: str) -> dict[str, str]:
    """The settings in a file of `name = value` lines, UTF-8; a line that begins with `#` or `!` is a comment.

    Every other line must be a setting: a malformed line is refused, so that no setting is lost silently.
    option: the option that named the file. Raises MissionControlError, with the line's number, where it cannot be read.
    """
    settings: dict[str, str] = {}
    first_lines: dict[str, int] = {}

    def malformed(number: int, why: str) -> MissionControlError:
        return MissionControlError(
            f"expected lines of name = value in {option} {str(path)!r}; line {number} {why}. Nothing was read of it"
        )

    for number, line in enumerate(_lines(path, option), 1):
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        if line[0].isspace():
            raise malformed(number, "is indented: begin each setting at the start of its line")
        if line.startswith("["):
            raise malformed(number, f"is a section, {line[:60]!r}: this file has none, remove the line")
        if _CONTROL_CHARACTERS.search(line):
            raise malformed(number, "has a control character in it")
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            # The message leaves out the line: a password that was broken into two lines should not reach a log.
            raise malformed(number, "has no =: write name = value, in one line, or # before a comment")
        if not _NAME.fullmatch(name):
            raise malformed(number, f"has a name that no setting has, {name[:60]!r}")
        if name in settings:
            raise malformed(number, f"sets {name!r} again, which line {first_lines[name]} has set: remove one of them")
        settings[name], first_lines[name] = value, number
    return settings


def read_spark_config(path: str | Path) -> dict[str, str]:
    """Spark's settings in a file. Raises MissionControlError if it cannot be read or a name in it is not Spark's."""
    config = read_config(path, "--spark-config")
    foreign = [name for name in config if not name.startswith("spark.")]
    if foreign:
        raise MissionControlError(
            f"expected names that begin with spark. in --spark-config {str(path)!r}; got {foreign[0]!r}"
        )
    if "spark.master" in config:
        raise MissionControlError(
            f"spark.master in --spark-config {str(path)!r} is what --master says: remove the line"
        )
    return config


def _lines(path: str | Path, option: str) -> list[str]:
    """The lines of a file, without line ends and without a byte order mark at its start."""
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:  # Path.open takes no opener
            mode = os.fstat(file.fileno()).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                raise MissionControlError(f"expected a file as {option}; got {str(path)!r}, which is a device")
            first = _first_byte_of_pipe(file.fileno()) if stat.S_ISFIFO(mode) else b""
            if first is None:
                raise MissionControlError(
                    f"no process opened the pipe {str(path)!r} to write into it within {PIPE_TIMEOUT_SECONDS:.0f} s: "
                    f"expected {option}"
                )
            os.set_blocking(file.fileno(), True)
            content = first + file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise MissionControlError(f"cannot read {option} {str(path)!r}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise MissionControlError(f"expected a file of settings, up to 1 MB, as {option}; got {str(path)!r}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise MissionControlError(
            f"expected {option} {str(path)!r} in UTF-8; line {number} is not: save the file in that encoding"
        ) from error
    return [line.removesuffix("\r") for line in text.replace("\r\n", "\n").split("\n")]


def _first_byte_of_pipe(pipe: int) -> bytes | None:
    """The first byte that a process writes into a pipe, such as a shell's `<(command)`; None if no process opens it.

    Empty where a process has the pipe open but writes later, for example because it asks for a password.
    pipe: a non-blocking file descriptor.
    """
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    deadline = time.monotonic() + PIPE_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            first = os.read(pipe, 1)
        except BlockingIOError:  # a process has the pipe open and has written nothing yet
            return b""
        if first or poll.poll(0):  # a byte, or the process has closed the pipe
            return first
        poll.poll(50)
    return None


def _open_nonblocking(path: str, flags: int) -> int:
    """Opens a file or a pipe; without O_NONBLOCK, opening a pipe would wait until another process opens it to write."""
    return os.open(path, flags | os.O_NONBLOCK)
