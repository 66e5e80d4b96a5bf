"""Looks up the country of an address, in a file that the user brings; the address goes no further than here."""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from streaming import contract
from streaming.errors import MissionControlError


class Places:
    """A database of countries by address, in MaxMind's format (GeoLite2, DB-IP Lite).

    Raises MissionControlError where the file cannot be read, or says nothing of countries.
    """

    def __init__(self, path: Path) -> None:
        import maxminddb

        try:
            self._reader = maxminddb.open_database(path)
        except (OSError, maxminddb.InvalidDatabaseError) as error:
            raise MissionControlError(f"expected --places as a file in MaxMind's format; got {str(path)!r}") from error
        if not any(word in self._reader.metadata().database_type for word in ("Country", "City", "Enterprise")):
            raise MissionControlError(
                f"expected --places to be of countries or cities; got {self._reader.metadata().database_type!r}"
            )

    def country(self, address: str) -> str:
        """The code of the country, as in ISO 3166-1 alpha-2; `??` where it is not known."""
        try:
            found: Any = self._reader.get(address) if address else None
        except ValueError:
            found = None
        place = found.get("country") if isinstance(found, dict) else None
        code = place.get("iso_code") if isinstance(place, dict) else None
        return code if code in contract.COUNTRIES else contract.UNKNOWN_COUNTRY


def client_address(peer: str, forwarded: Sequence[str], proxies: int) -> str:
    """The address of a client; "" where it is not known.

    peer: the address that has connected. forwarded: the values of X-Forwarded-For. proxies: how many proxies of ours
    stand before this server; each adds to the right end what has connected to it, and what is left of that is a
    client's own words.
    """
    if not proxies:
        return peer
    hops = [hop for value in forwarded for hop in value.split(",")]
    return _plain(hops[-proxies]) if len(hops) >= proxies else ""


def _plain(hop: str) -> str:
    """The address of a hop, which may have a port or brackets; "" where it is none."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
