"""Thunderbird: its usage hours are those of its main pings, and its crashes are reported as Firefox reports its own."""

from streaming.contract.products.firefox import DESKTOP_KINDS, DESKTOP_SINCE
from streaming.contract.products.product import Channel, Platform, Product

_PLATFORMS = (("Windows_NT", "Windows", "windows"), ("Darwin", "macOS", "mac"), ("Linux", "Linux", "linux"))

THUNDERBIRD = Product(
    name="Thunderbird",
    label="Thunderbird",
    channels=(
        Channel("release", "Release"),
        Channel("esr", "ESR"),
        Channel("beta", "Beta"),
        Channel("nightly", "Daily"),
        Channel("default", "Other builds"),  # of distributions such as Debian, which are most of Linux
    ),
    platforms=tuple(
        Platform(os_name, label, word, "Thunderbird", DESKTOP_KINDS, DESKTOP_SINCE)
        for os_name, label, word in _PLATFORMS
    ),
)
