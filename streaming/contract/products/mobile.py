"""Firefox for Android and iOS of today: how long they were used is in their baseline pings.

The Firefox for Android of before 2020, Fennec, is a platform of Firefox.
"""

from streaming.contract.products.product import BuildRules, Channel, Platform, Product

_CHANNELS = (Channel("release", "Release"), Channel("beta", "Beta"), Channel("nightly", "Nightly"))
_CRASHES = ("main_crashes", "content_crashes")
# A crash ping names the build by its time, a baseline ping by a number of the application's store.
_BUILDS = BuildRules("text", None)

FENIX = Product(
    name="Fenix",
    label="Firefox for Android",
    channels=_CHANNELS,
    platforms=(Platform("Android", "Android", "android", "Fenix", ("glean/crash", "glean/baseline")),),
    builds=_BUILDS,
    score=_CRASHES,
    cards=_CRASHES,
)
# It sends no crash ping: pages name crashes as not reported.
FIREFOX_IOS = Product(
    name="Firefox iOS",
    label="Firefox for iOS",
    channels=_CHANNELS,
    platforms=(Platform("iOS", "iOS", "ios", "Firefox iOS", ("glean/baseline",)),),
    builds=_BUILDS,
    score=("main_crashes",),
    cards=("main_crashes",),
)
