"""Secrets, which are in a file or an environment variable and are read anew for each use: they may be exchanged."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from streaming.errors import MissionControlError

FROM = "@FILE or env:NAME"
_LONGEST_BYTES = 64 << 10


@dataclass(frozen=True)
class Secret:
    """Where a secret is: a path after "@", or a variable's name after "env:"."""

    where: str

    def read(self) -> str:
        """The secret. Raises MissionControlError, without the secret in its text, where there is none."""
        if self.where.startswith("@"):
            text, what = _content(self.where[1:]), f"the file {self.where[1:]!r}"
        else:
            name = self.where.removeprefix("env:")
            text, what = os.environ.get(name, ""), f"the environment variable {name}"
        if not text.strip():
            raise MissionControlError(f"expected a secret in {what}; it is empty or missing")
        return text.strip()


def as_secret(text: str) -> Secret | None:
    """Where a secret is, if the text says that: @FILE or env:NAME."""
    return Secret(text) if re.fullmatch(r"@.+|env:[A-Za-z_][A-Za-z0-9_]*", text) else None


def _content(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(_LONGEST_BYTES).decode()
    except OSError as error:
        raise MissionControlError(f"cannot read the secret in {path!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MissionControlError(f"expected text as the secret in {path!r}; it is not UTF-8") from None
