"""The message and the exit code of the command line for an error that no code below it has handled."""

import errno
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from streaming.errors import MissionControlError, printable

INTERRUPTED = 130  # exit code that a shell reports after Ctrl-C
_MAX_MESSAGE_CHARACTERS = 600  # maximum length of a library's message, in characters
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room there and start it again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "see to the permissions, or name another place"),
    errno.EROFS: "name a place that can be written",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files (ulimit -n)"),
    errno.ENAMETOOLONG: "name a shorter one",
    errno.ELOOP: "see to the symbolic links there",
    errno.ENOMEM: "free some memory, or give it more",
    errno.EIO: "see to the disk: the kernel's log says more",
}
_OURS = ("builtins", "missioncontrol_nb", "streaming")


class _StandardOutput(io.FileIO):
    """Standard output that keeps the error of a failed write."""

    failure: OSError | None = None

    def write(self, content: Any) -> int:
        """Writes as much as possible. Keeps and raises any OSError."""
        try:
            return super().write(content)
        except OSError as error:
            _StandardOutput.failure = error
            raise


def run_to_exit_code(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code; any exception is reported as one sentence on stderr, with code 1.

    The code is 130 where Ctrl-C ended the command before or after the part that handles Ctrl-C itself.
    """
    code, sentence = 0, ""
    try:
        try:
            code = command() or 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        sys.stdout.flush()
    except KeyboardInterrupt:
        code, sentence = INTERRUPTED, "interrupted"
    except BaseException as error:
        code, sentence = 1, sentence_of(error)
    if sentence:
        _print_error(sentence)
    _drop_unwritten()
    return code


def sentence_of(error: BaseException) -> str:
    """An error in one sentence: what happened and what to do."""
    if isinstance(error, OSError) and error is _StandardOutput.failure:
        return f"standard output cannot be written: {error.strerror}; what was said there is not whole"
    if isinstance(error, MissionControlError):
        return "\n".join(map(printable, str(error).split("\n")))
    if isinstance(error, MemoryError):
        return "there is not enough memory: free some, or give it less at a time (--batch-megabytes)"
    if isinstance(error, OSError) and error.errno is not None:
        return _of_system(error)
    message = _first_words(error)
    if isinstance(error, OSError) or type(error).__module__.split(".")[0] not in _OURS:
        return f"{message} ({type(error).__name__}); {_kept(error)}"
    return f"this is a fault of Mission Control: {type(error).__name__}: {message}; {_kept(error)}, please report it"


def _of_system(error: OSError) -> str:
    where = "".join(f" {name!r}" for name in (error.filename, error.filename2) if name is not None)
    advice = _ADVICE.get(error.errno or 0)
    message = error.strerror or str(error)
    if not where and advice is None:
        return f"{message} ({type(error).__name__}); {_kept(error)}"
    return f"{message}{f':{where}' if where else ''}; {advice or 'see to it and start it again'}"


def _first_words(error: BaseException) -> str:
    words = printable(" ".join(str(error).split())) or "no message"
    return words if len(words) <= _MAX_MESSAGE_CHARACTERS else words[:_MAX_MESSAGE_CHARACTERS] + " ..."


def _kept(error: BaseException) -> str:
    """The location of the traceback: a file or, if no file can be written, the line that raised the error."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="missioncontrol-traceback-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            file.writelines(traceback.format_exception(error))
    except OSError as unwritten:
        raised = traceback.extract_tb(error.__traceback__)[-1:]
        where = f"line {raised[0].lineno} of {raised[0].filename}" if raised else "an unknown line"
        return f"raised by {where}, its traceback cannot be written ({unwritten.strerror})"
    return f"the traceback is in {file.name}"


def _print_error(sentence: str) -> None:
    try:
        print(f"missioncontrol: {sentence}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return  # stderr cannot be written; the exit code reports the error


def _drop_unwritten() -> None:
    """Discards unwritten output, so that Python does not retry at exit, fail and print a message of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def open_streams() -> None:
    """Opens standard streams that the caller has closed, and makes standard output accept any character.

    Otherwise a file that is opened later would get their descriptors, and the messages meant for people. Raises
    MissionControlError where standard output is closed, because nobody would see the requested output.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    for number in closed:
        os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
        if number == 1:
            sys.stdout = os.fdopen(1, "w", closefd=False)
        if number == 2:
            sys.stderr = os.fdopen(2, "w", closefd=False)
    if 1 in closed:
        raise MissionControlError("standard output is closed: send it to a file, or to /dev/null")
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        before = sys.stdout
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_StandardOutput(1, "w", closefd=False)),
            encoding=before.encoding,
            errors="backslashreplace",
            line_buffering=before.line_buffering,
        )


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
