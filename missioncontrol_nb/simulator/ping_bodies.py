"""The parts of pings that are not counted: environments and histograms of realistic content and size, by schema."""

from pathlib import Path
from typing import Any

import numpy as np

Document = dict[str, Any]
FENNEC_ID, FIREFOX_ID = "{aa3c41e1-d153-4c96-a1b5-5d6b3a1c1a1e}", "{ec8030f7-c20a-464f-9b0e-13a3a9e97384}"
_HISTOGRAMS = Path(__file__).with_name("histograms.txt").read_text().split()  # Names from Firefox in 2017
_ADDONS = (
    ("aushelper@mozilla.org", "Application Update Service Helper", True),
    ("e10srollout@mozilla.org", "Multi-process staged rollout", True),
    ("firefox@getpocket.com", "Pocket", True),
    ("formautofill@mozilla.org", "Form Autofill", True),
    ("onboarding@mozilla.org", "Photon onboarding", True),
    ("screenshots@mozilla.org", "Firefox Screenshots", True),
    ("shield-recipe-client@mozilla.org", "Shield Recipe Client", True),
    ("webcompat@mozilla.org", "Web Compat", True),
    ("uBlock0@raymondhill.net", "uBlock Origin", False),
    ("{d10d0bf8-f5b5-c8b4-a8b2-2b9879e08c5d}", "Adblock Plus", False),
    ("{73a6fe31-595d-460b-a920-fcc0f8843232}", "NoScript", False),
    ("https-everywhere-eff@eff.org", "HTTPS Everywhere", False),
    ("{b9db16a4-6edc-47ec-a1f4-b86292ed211d}", "Video DownloadHelper", False),
)


def build(is_mobile: bool) -> Document:
    """`environment.build`; @@ marks values that differ between pings."""
    return {
        "applicationId": FENNEC_ID if is_mobile else FIREFOX_ID,
        "applicationName": "@@application@@",
        "architecture": "@@architecture@@",
        "buildId": "@@build_id@@",
        "version": "@@version@@",
        "displayVersion": "@@display_version@@",
        "vendor": "Mozilla",
        "platformVersion": "@@version@@",
        "xpcomAbi": "@@abi@@",
        "updaterAvailable": True,
    }


def application() -> Document:
    """`application`."""
    return {
        "architecture": "@@architecture@@",
        "buildId": "@@build_id@@",
        "name": "@@application@@",
        "version": "@@version@@",
        "displayVersion": "@@display_version@@",
        "vendor": "Mozilla",
        "platformVersion": "@@version@@",
        "xpcomAbi": "@@abi@@",
        "channel": "@@channel@@",
    }


def system(rng: np.random.Generator, os_name: str) -> Document:
    """`environment.system`."""
    cores = int(rng.choice([1, 2, 4, 8]))
    document: Document = {
        "memoryMB": int(rng.choice([2048, 4096, 8192, 16384])),
        "virtualMaxMB": 134217728 if os_name == "Windows_NT" else None,
        "cpu": {
            "count": cores,
            "cores": max(cores // 2, 1),
            "vendor": "AuthenticAMD" if rng.random() < 0.2 else "GenuineIntel",
            "family": 6,
            "model": int(rng.integers(23, 94)),
            "stepping": int(rng.integers(1, 11)),
            "l2cacheKB": 256,
            "l3cacheKB": int(rng.choice([3072, 4096, 6144, 8192])),
            "speedMHz": int(rng.integers(1600, 3900)),
            "extensions": ["hasMMX", "hasSSE", "hasSSE2", "hasSSE3", "hasSSSE3", "hasSSE4_1"],
        },
        "os": {"name": os_name, "version": "@@os_version@@", "locale": "@@locale@@"},
        "hdd": {part: {"model": None, "revision": None} for part in ("profile", "binary", "system")},
        "gfx": _graphics(rng),
        "appleModelId": "MacBookPro12,1" if os_name == "Darwin" else None,
    }
    if os_name == "Windows_NT":
        document["isWow64"] = bool(rng.random() < 0.3)
        document["os"] |= {"servicePackMajor": 1, "servicePackMinor": 0, "installYear": int(rng.integers(2010, 2018))}
    return document


def _graphics(rng: np.random.Generator) -> Document:
    return {
        "D2DEnabled": None,
        "DWriteEnabled": None,
        "ContentBackend": "Skia",
        "adapters": [
            {
                "description": None,
                "vendorID": "0x8086",
                "deviceID": f"0x{rng.integers(0x100, 0x2000):04x}",
                "subsysID": None,
                "RAM": None,
                "driver": None,
                "driverVersion": None,
                "driverDate": None,
                "GPUActive": True,
            }
        ],
        "monitors": [{"screenWidth": int(rng.choice([1280, 1366, 1920])), "screenHeight": 800, "scale": 1}],
        "features": {"compositor": "opengl", "gpuProcess": {"status": "unused"}},
    }


def environment(rng: np.random.Generator, os_name: str, is_full: bool) -> Document:
    """`environment`; a full one also has add-ons and plugins. @@ marks values that differ between pings."""
    document: Document = {
        "build": build(os_name == "Android"),
        "partner": dict.fromkeys(
            ("distributionId", "distributionVersion", "partnerId", "distributor", "distributorChannel")
        )
        | {"partnerNames": []},
        "system": system(rng, os_name),
        "settings": _settings(rng),
        "profile": {"creationDate": int(rng.integers(15000, 17400))},
        "experiments": {"@@experiments@@": 0, "searchCohort": {}},
        "addons": {"activeExperiment": "@@#active_experiment@@", "persona": None},
    }
    if is_full:
        document["addons"] |= _addons(rng)
    return document


def _settings(rng: np.random.Generator) -> Document:
    return {
        "blocklistEnabled": True,
        "e10sEnabled": True,
        "e10sMultiProcesses": 4,
        "e10sCohort": "multiBucket4",
        "telemetryEnabled": True,
        "locale": "@@locale@@",
        "update": {"channel": "@@channel@@", "enabled": True, "autoDownload": True},
        "userPrefs": {
            "browser.cache.disk.capacity": 358400,
            "browser.newtabpage.enhanced": True,
            "browser.search.widget.inNavBar": bool(rng.random() < 0.5),
            "browser.startup.page": int(rng.choice([1, 3])),
            "browser.urlbar.suggest.searches": bool(rng.random() < 0.5),
        },
        "sandbox": {"effectiveContentProcessLevel": int(rng.integers(1, 4))},
        "addonCompatibilityCheckEnabled": True,
        "isDefaultBrowser": bool(rng.random() < 0.6),
        "defaultSearchEngine": "google",
        "defaultSearchEngineData": {
            "name": "Google",
            "loadPath": "jar:[app]/omni.ja!browser/google.xml",
            "origin": "default",
            "submissionURL": "https://www.google.com/search?q=&ie=utf-8&oe=utf-8&client=firefox-b",
        },
        "searchCohort": "nov17-2",
    }


def _addons(rng: np.random.Generator) -> Document:
    active = {
        addon: {
            "version": f"{rng.integers(1, 5)}.{rng.integers(0, 20)}",
            "scope": 1,
            "type": "extension",
            "updateDay": int(rng.integers(17000, 17440)),
            "installDay": int(rng.integers(16000, 17000)),
            "isSystem": is_system,
            "isWebExtension": not is_system,
            "multiprocessCompatible": True,
            "blocklisted": False,
            "description": f"{name} for Firefox",
            "name": name,
            "userDisabled": False,
            "appDisabled": False,
            "foreignInstall": False,
            "hasBinaryComponents": False,
        }
        for addon, name, is_system in _ADDONS
        if is_system or rng.random() < 0.4
    }
    plugin = {
        "name": "Shockwave Flash",
        "version": "27.0.0.130",
        "description": "Shockwave Flash 27.0 r0",
        "blocklisted": False,
        "disabled": False,
        "clicktoplay": True,
        "mimeTypes": ["application/x-shockwave-flash", "application/futuresplash"],
        "updateDay": 17424,
    }
    return {"activeAddons": active, "activePlugins": [plugin], "activeGMPlugins": {}}


def histograms(rng: np.random.Generator, number: int) -> Document:
    """Some histograms that are not counted, with exponential buckets."""
    names = rng.choice(_HISTOGRAMS, size=min(number, len(_HISTOGRAMS)), replace=False)
    return {str(name): _histogram(rng) for name in sorted(names)}


def _histogram(rng: np.random.Generator) -> Document:
    buckets = np.unique(np.round(np.geomspace(1, 10 ** rng.integers(2, 6), int(rng.integers(12, 40)))).astype(int))
    counts = rng.poisson(rng.lognormal(1, 1.5, len(buckets)))
    values = {str(bucket): int(count) for bucket, count in zip([0, *buckets[:-1].tolist()], counts, strict=True)}
    return {
        "range": [1, int(buckets[-1])],
        "bucket_count": len(buckets) + 1,
        "histogram_type": 0,
        "values": values,
        "sum": int((buckets * counts).sum()),
    }


def simple_measurements(rng: np.random.Generator) -> Document:
    """`payload.simpleMeasurements`: milliseconds since the start of the process."""
    names = ("start", "main", "selectProfile", "afterProfileLocked", "startupCrashDetectionBegin", "firstPaint")
    later = ("sessionRestoreInit", "sessionRestored", "createTopLevelWindow", "firstLoadURI", "delayedStartupFinished")
    times = np.cumsum(rng.integers(10, 900, len(names) + len(later))).tolist()
    return dict(zip((*names, *later), times, strict=True)) | {"js": {}, "activeTicks": int(rng.integers(0, 2000))}
