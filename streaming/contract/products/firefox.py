"""Firefox: on desktops, and on Android, where its pings came from the application Fennec until 2020."""

from streaming.contract.products.product import Channel, Platform, Product

DESKTOP_KINDS = ("telemetry/main", "telemetry/crash", "glean/crash", "glean/baseline")
_ANDROID = ("telemetry/core", "telemetry/crash")
# Firefox 149 still sends telemetry/crash pings, and 153 no longer does. Up to about 148, it reports each crash by both.
DESKTOP_SINCE = {"glean/crash": "150"}

FIREFOX = Product(
    name="Firefox",
    label="Firefox",
    channels=(
        Channel("release", "Release"),
        Channel("beta", "Beta", ("b", "rc", None)),
        Channel("aurora", "Aurora", ("a", "b")),
        Channel("nightly", "Nightly", ("a",)),
        Channel("esr", "ESR", ("esr",)),
    ),
    platforms=(
        Platform("Windows_NT", "Windows", "windows", "Firefox", DESKTOP_KINDS, DESKTOP_SINCE),
        Platform("Darwin", "macOS", "mac", "Firefox", DESKTOP_KINDS, DESKTOP_SINCE),
        Platform("Linux", "Linux", "linux", "Firefox", DESKTOP_KINDS, DESKTOP_SINCE),
        Platform("Android", "Android", "android", "Fennec", _ANDROID),
    ),
    calendar="product-details",
    score=("main_crashes", "content_crashes"),
    cards=("content_crashes", "main_crashes"),
)
