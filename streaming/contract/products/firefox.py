"""Firefox: on desktops, and on Android, where its pings came from the application Fennec until 2020."""

from streaming.contract.products.product import Channel, Platform, Product

_DESKTOP, _ANDROID = ("telemetry/main", "telemetry/crash"), ("telemetry/core", "telemetry/crash")

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
        Platform("Windows_NT", "Windows", "windows", "Firefox", _DESKTOP),
        Platform("Darwin", "macOS", "mac", "Firefox", _DESKTOP),
        Platform("Linux", "Linux", "linux", "Firefox", _DESKTOP),
        Platform("Android", "Android", "android", "Fennec", _ANDROID),
    ),
    calendar="product-details",
    score=("main_crashes", "content_crashes"),
    cards=("content_crashes", "main_crashes"),
)
