"""Finds files at any fsspec URL, reads them a range at a time, and creates and deletes small ones.

Some failures of an object store concern one file (it is gone, or access is denied), some are permanent (no such
bucket), and most are transient: a connection cut in mid-body, too many requests, an outage. A range counts only when
all of it was read, so that a range that is read twice is never counted twice. Credentials that are refused are
requested again a few times, because they may have been replaced.
"""

import errno
import glob
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from streaming.errors import MissionControlError
from streaming.storage.locations import is_s3
from streaming.storage.retry import IsTransient, RetryPolicy

RANGE_BYTES = 8 << 20
_CREDENTIAL_ATTEMPTS = 8
_REFUSED_CREDENTIALS = {
    *("ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed"),
    *("SignatureDoesNotMatch", "TokenRefreshRequired"),
}
_PERMANENT_TYPES = (FileNotFoundError, PermissionError, ImportError, ValueError, TypeError, NotImplementedError)
_PERMANENT_ERRNOS = {errno.EINVAL, errno.EPERM, errno.ENAMETOOLONG, errno.ENOSYS, getattr(errno, "EREMCHG", -1)}
_PERMANENT_NAMES = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ParamValidationError"}
_Result = TypeVar("_Result")


def require(url: str, retry_policy: RetryPolicy) -> None:
    """Raises MissionControlError where nothing exists at a URL or the store gives no access to it."""
    try:
        exists = find(url, retry_policy, _is_transient_at_start) or glob.has_magic(url)
        if not exists and not _call_with_retry(url, _exists, retry_policy, _is_transient_at_start):
            raise MissionControlError(f"nothing there: {url!r}")
    except (ValueError, ImportError) as error:  # an unknown protocol or one whose package is missing
        raise MissionControlError(f"cannot read from {url!r}: {error}") from error


def find(
    url: str, retry_policy: RetryPolicy, is_transient: IsTransient | None = None, *, is_literal: bool = False
) -> dict[str, dict[str, Any]]:
    """The files and folders below a URL or matched by a glob: fsspec's details, by the path below the URL.

    A URL at which something exists is not a glob. is_literal: the URL is never a glob.
    """

    def list_below(filesystem: Any, path: str) -> dict[str, dict[str, Any]]:
        filesystem.invalidate_cache()
        is_glob = not is_literal and glob.has_magic(path) and not _exists(filesystem, path)
        found = (filesystem.glob if is_glob else filesystem.find)(path, detail=True)
        return {
            name.removeprefix(path).lstrip("/"): details | {"url": filesystem.unstrip_protocol(name)}
            for name, details in found.items()
        }

    try:
        return _call_with_retry(url, list_below, retry_policy, is_transient or _is_transient)
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise _failure(url, error) from error


def modified(details: dict[str, Any]) -> datetime:
    """When a remote file was written, under whichever name its filesystem reports it; 1970 where it does not."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        moment = details.get(name)
        if isinstance(moment, datetime):
            return moment.astimezone(UTC)
        if isinstance(moment, int | float):
            return datetime.fromtimestamp(moment, UTC)
    return datetime.fromtimestamp(0, UTC)


def read_range(url: str, start: int, end: int, retry_policy: RetryPolicy) -> bytes:
    """The bytes from start to before end; fewer where the file has no more.

    Raises FileNotFoundError or PermissionError where the failure concerns this file, MissionControlError for all other
    failures.
    """

    def read(filesystem: Any, path: str) -> bytes:
        try:
            return filesystem.cat_file(path, start=start, end=end)
        except Exception as error:
            if _code(error) in ("InvalidRange", "416"):
                return b""
            raise

    block = _call_with_retry(url, read, retry_policy, _is_transient)
    if len(block) > end - start:
        raise MissionControlError(f"the server of {url!r} gives whole files only, and this one is too large for that")
    return block


def create_file(url: str, content: bytes, retry_policy: RetryPolicy) -> bool:
    """Creates a file, whole or not at all; False where there is one, which stays as it is (S3: a conditional put).

    True or False after a retry: an attempt whose response was lost may have created it. Raises MissionControlError
    where the store refuses or cannot be reached.
    """

    def create(filesystem: Any, path: str) -> bool:
        try:
            filesystem.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        return True

    try:
        return _call_with_retry(url, create, retry_policy, _is_transient_at_start)
    except (FileNotFoundError, PermissionError) as error:
        raise _failure(url, error) from error


def replace_file(url: str, content: bytes, retry_policy: RetryPolicy) -> None:
    """Writes a file, whole or not at all, in place of one that may be there.

    Raises MissionControlError where the store refuses or cannot be reached.
    """
    try:
        _call_with_retry(
            url, lambda filesystem, path: filesystem.pipe_file(path, content), retry_policy, _is_transient_at_start
        )
    except (FileNotFoundError, PermissionError) as error:
        raise _failure(url, error) from error


def read_file(url: str, retry_policy: RetryPolicy) -> bytes | None:
    """The content of a small file; None where there is none.

    Raises MissionControlError where the store refuses or cannot be reached.
    """

    def read(filesystem: Any, path: str) -> bytes:
        return bytes(filesystem.cat_file(path))

    try:
        return _call_with_retry(url, read, retry_policy, _is_transient_at_start)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise _failure(url, error) from error


def delete_file(url: str, retry_policy: RetryPolicy) -> None:
    """Deletes a file if it is there. Raises MissionControlError where the store refuses or cannot be reached."""
    try:
        _call_with_retry(url, lambda filesystem, path: filesystem.rm_file(path), retry_policy, _is_transient_at_start)
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise _failure(url, error) from error


def may_be_transient(error: MissionControlError) -> bool:
    """Whether the failure that ended the retries with a store may still be transient."""
    return isinstance(error.__cause__, Exception) and _is_transient(error.__cause__, 1)


def open_file(url: str) -> Any:
    """A seekable file, open for reading."""
    filesystem, path = _filesystem(url)
    return filesystem.open(path, "rb", block_size=RANGE_BYTES, cache_type="readahead")


def _call_with_retry(
    url: str, request: Callable[[Any, str], _Result], retry_policy: RetryPolicy, is_transient: IsTransient
) -> _Result:
    """A filesystem's answer to a question, after retries.

    Raises FileNotFoundError and PermissionError where they concern one file, and bugs unchanged; for any other failure
    raises MissionControlError.
    """

    def attempt(_: bool) -> _Result:
        filesystem, path = _filesystem(url)  # FTP connects here
        try:
            return request(filesystem, path)
        except Exception as error:
            if is_s3(url) and _code(error) in _REFUSED_CREDENTIALS:
                filesystem.connect(refresh=True)
            raise

    try:
        return retry_policy.call(attempt, url, is_transient)
    except Exception as error:
        concerns_file = isinstance(error, FileNotFoundError | PermissionError) and not _concerns_store(error)
        if concerns_file or isinstance(error, ValueError | ImportError | TypeError):
            raise
        raise _failure(url, error) from error


def _filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and the URL's path in it; fsspec caches filesystems. Raises the client's errors."""
    import fsspec

    if not is_s3(url):
        return fsspec.core.url_to_fs(url)
    # Further retries are made here: s3fs would make 25 attempts, of 15 seconds each where no response arrives.
    retries = {"retries": {"max_attempts": 2, "mode": "standard"}}
    filesystem = fsspec.filesystem("s3", config_kwargs=retries)  # url_to_fs would read :: in a key as a chain of URLs
    filesystem.retries = 1
    return filesystem, filesystem._strip_protocol(url)


def _exists(filesystem: Any, path: str) -> bool:
    """Whether something exists at a path. Raises the client's error where its server cannot be reached."""
    if "http" in filesystem.protocol:  # unless strict, it reports nothing there if its server cannot be reached
        try:
            return bool(filesystem.exists(path, strict=True))
        except TypeError:  # fsspec 2025 has no `strict`
            pass
        except Exception as error:
            if hasattr(error, "status"):  # the server responded, even if access is forbidden
                return False
            raise
    return bool(filesystem.exists(path))


def _is_transient(error: Exception, number: int) -> bool:
    if _code(error) in _REFUSED_CREDENTIALS:
        return number < _CREDENTIAL_ATTEMPTS
    return not (
        isinstance(error, _PERMANENT_TYPES)
        or (isinstance(error, OSError) and error.errno in _PERMANENT_ERRNOS)
        or type(error).__name__ in _PERMANENT_NAMES
    )


def _is_transient_at_start(error: Exception, number: int) -> bool:
    cause = getattr(error, "os_error", error)  # an attribute of aiohttp's errors
    is_unknown_host = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME
    return _code(error) not in _REFUSED_CREDENTIALS and not is_unknown_host and _is_transient(error, number)


def _concerns_store(error: Exception) -> bool:
    """Whether a failure to read a file concerns all files of the store."""
    return _code(error) in _REFUSED_CREDENTIALS or _code(error) == "NoSuchBucket"


def _code(error: Exception) -> str:
    """The error code of an S3 server's response, else empty."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""


def _failure(url: str, error: Exception) -> MissionControlError:
    code = _code(error)
    message = str(error) or repr(error)
    return MissionControlError(f"cannot reach {url!r}: {code + ': ' if code and code not in message else ''}{message}")
