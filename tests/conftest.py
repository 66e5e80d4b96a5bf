"""What every test can ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import kafka

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public sample data beside the checkout; tests that need it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public sample data is not beside this checkout (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Broker]:
    """A Kafka that runs whenever a test begins."""
    if said := kafka.missing():
        pytest.skip(said)
    with kafka.Broker(tmp_path_factory.mktemp("kafka"), is_secure=True) as started:
        yield started
