"""Credentials, endpoints and options for S3, the same for each client."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from streaming.errors import MissionControlError
from streaming.storage.locations import is_s3
from streaming.storage.store_errors import reason_of

if TYPE_CHECKING:
    from botocore.session import Session

CREDENTIALS = (  # with any, an S3 client finds keys; with none, it queries the cloud's metadata address and hangs
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_FORCE_CREDENTIAL_LOAD",
    "AWS_SKIP_SIGNATURE",
)
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
_ENDPOINT_OPTIONS = ("endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url", "aws_endpoint_url_s3")
DEFAULT_REGION = "us-east-1"  # deltalake's default where there is no profile
_CREDENTIAL_FILES = ("~/.aws/credentials", "~/.aws/config")
_RETRIES = {"max_retries": "3", "retry_timeout": "15s"}  # deltalake's own retries, few because the caller retries too


def use_endpoint(url: str) -> None:
    """Directs all S3 clients of this process, and of processes that it starts, to a store other than Amazon's.

    url: the store's endpoint. Raises MissionControlError where it is not a URL.
    """
    _check_endpoint("--endpoint-url", url, "https?://[^/?#]+/?")
    os.environ["AWS_ENDPOINT_URL"] = url
    os.environ.pop("AWS_ENDPOINT_URL_S3", None)


def _check_endpoint(name: str, url: str, form: str = "https?://.+") -> None:
    """Raises MissionControlError for an endpoint that no S3 client can use.

    name: the setting's name; form: a regular expression for the URL.
    """
    try:
        parts = urlsplit(url)
        is_usable = bool(re.fullmatch(form, url) and parts.hostname and not re.search(r"\s", url) and parts.port != 0)
    except ValueError:  # the port is not a number or too large, or a bracket is unpaired
        is_usable = False
    if not is_usable:
        raise MissionControlError(
            f"expected {name} as a URL such as https://s3.example.org or http://127.0.0.1:9000, the port from 1 to "
            f"65535; got {url!r}"
        )


def pass_on_settings(environment: dict[str, str]) -> None:
    """Replaces the S3 settings in another process's environment with those of this process."""
    for name in [name for name in environment if name.startswith("AWS_")]:
        del environment[name]
    environment.update({name: value for name, value in os.environ.items() if name.startswith("AWS_")})


def check_credentials(url: str, options: Mapping[str, str] | None = None) -> None:
    """Raises MissionControlError at once where an S3 client would find no credentials, or cannot use an endpoint.

    options: deltalake's options beyond the environment, such as `AWS_ACCESS_KEY_ID`.
    """
    if not is_s3(url):
        return
    endpoints = {name: os.environ.get(name) for name in _ENDPOINTS}
    endpoints |= {name: value for name, value in (options or {}).items() if name.lower() in _ENDPOINT_OPTIONS}
    for name, value in endpoints.items():
        if value:
            _check_endpoint(name, value)
    configured = _configured_names(options)
    if "AWS_ACCESS_KEY_ID" in configured and "AWS_SECRET_ACCESS_KEY" not in configured:
        raise MissionControlError(f"half of the credentials for {url!r}: set AWS_SECRET_ACCESS_KEY too")
    if configured.isdisjoint(CREDENTIALS) and not (_has_profile(options) and _profile_has_keys(url, options)):
        raise MissionControlError(
            f"no credentials for {url!r}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL "
            "unless it is Amazon's), or AWS_PROFILE; on a machine with a role, AWS_FORCE_CREDENTIAL_LOAD=true"
        )


def storage_options(url: str, options: Mapping[str, str] | None = None) -> dict[str, str] | None:
    """The options that deltalake needs for a URL: those given, and those found neither there nor in the environment.

    None for a local path without options. An http:// endpoint must be allowed explicitly, a profile must be requested.
    """
    needed = {key: str(value) for key, value in (options or {}).items()}
    if not is_s3(url):
        return needed or None
    configured = _configured_names(options)
    if "AWS_ENDPOINT_URL" not in configured and os.environ.get("AWS_ENDPOINT_URL_S3"):
        needed["AWS_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL_S3"]
    if configured.isdisjoint(CREDENTIALS) and _has_profile(options):
        needed["AWS_FORCE_CREDENTIAL_LOAD"] = "true"
        needed = _profile_settings(options) | needed
    endpoints = [value for key, value in needed.items() if "endpoint" in key.lower()]
    if (endpoints or [os.environ.get("AWS_ENDPOINT_URL", "")])[0].startswith("http://"):
        needed.setdefault("AWS_ALLOW_HTTP", "true")
    return needed


def _configured_names(options: Mapping[str, str] | None) -> set[str]:
    """The names of all settings that are not empty, as the environment spells them."""
    given = {name.upper() for name, value in (options or {}).items() if value}
    prefixed = {name if name.startswith("AWS_") else f"AWS_{name}" for name in given}
    return prefixed | {name for name, value in os.environ.items() if value}


def _has_profile(options: Mapping[str, str] | None) -> bool:
    """Whether a profile is named, or a file exists that may hold a profile."""
    files = (os.environ.get("AWS_SHARED_CREDENTIALS_FILE"), *_CREDENTIAL_FILES)
    return "AWS_PROFILE" in _configured_names(options) or any(
        Path(name).expanduser().is_file() for name in files if name
    )


def _profile(options: Mapping[str, str] | None) -> "Session":
    """The session of the named profile, else of the default profile."""
    from botocore.session import Session

    names = [value for name, value in (options or {}).items() if name.upper() == "AWS_PROFILE"]
    return Session(profile=names[0] if names else None)


def _profile_has_keys(url: str, options: Mapping[str, str] | None) -> bool:
    """Whether a profile provides credentials: its own, or those of its `credential_process`, which is run for this.

    Raises MissionControlError where the profile cannot be used.
    """
    from botocore.exceptions import BotoCoreError

    try:
        chain = _profile(options).get_component("credential_provider")
        chain.remove("iam-role")  # queries the cloud's metadata address
        return chain.load_credentials() is not None
    except (BotoCoreError, OSError, ValueError) as error:
        raise MissionControlError(f"no credentials for {url!r}: {reason_of(error)}") from error


def _profile_settings(options: Mapping[str, str] | None) -> dict[str, str]:
    """The profile's settings that deltalake does not read by itself and that are set nowhere else."""
    configured, profile = _configured_names(options), _profile(options)
    settings = {}
    if configured.isdisjoint(
        ("AWS_REGION", "AWS_DEFAULT_REGION")
    ):  # else deltalake queries the cloud's metadata address
        settings["AWS_REGION"] = profile.get_config_variable("region") or DEFAULT_REGION
    if configured.isdisjoint(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")):
        settings["AWS_ENDPOINT_URL"] = profile.get_scoped_config().get("endpoint_url")
    return {name: value for name, value in settings.items() if value}


def options_with_few_retries(url: str) -> dict[str, str] | None:
    """storage_options for callers that retry themselves: with few retries by deltalake itself."""
    options = storage_options(url)
    return options if options is None else _RETRIES | options
