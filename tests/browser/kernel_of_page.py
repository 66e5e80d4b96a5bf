"""The kernel behind a page: its process, and what the server says about it."""

import urllib.error
import urllib.request

import psutil
from playwright.sync_api import Page

from tests.browser.conftest import KERNEL_ID, Served, evaluate
from tests.patience import PATIENCE_SECONDS


def get(url: str, **headers: str) -> tuple[int, dict[str, str], str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE_SECONDS) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read().decode()


def kernel_process(served: Served, kernel_id: str) -> psutil.Process:
    return next(kernel for kernel in served.kernels() if kernel.name() == f"page-{kernel_id[:8]}")


def alive(served: Served, kernel_id: str) -> bool:
    return get(f"{served}voila/alive/{kernel_id}")[0] == 204


def new_kernel(page: Page, before: str) -> bool:
    if evaluate(page, "document.getElementById('jupyter-config-data') !== null") is not True:
        return False
    return evaluate(page, KERNEL_ID) not in (None, before)
