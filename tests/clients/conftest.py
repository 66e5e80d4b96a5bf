"""What tests of real clients need: a real Chromium, and namespaces."""

import pytest

from missioncontrol_nb.demo.offline import OfflineNetwork
from streaming.errors import MissionControlError
from tests.browser.conftest import browser, chromium, serve  # noqa: F401 (fixtures)


@pytest.fixture
def network():
    """A network that has only a loopback."""
    try:
        network = OfflineNetwork()
    except MissionControlError as error:
        pytest.skip(str(error))
    yield network
    network.end()
