"""A tenth of each campaign of `make faults`, with the same code; of the forced points all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.campaign import FULL_TIMES, missing, run_campaign, share_of
from tests.services.kafka import Broker


@pytest.fixture
def mortal_broker(broker: Broker) -> Iterator[Broker]:
    """The broker of all tests, which runs again after this one."""
    yield broker
    if not broker.is_running:
        broker.start()


@pytest.mark.parametrize(
    "kind", ["driver", *(pytest.param(kind, marks=pytest.mark.long) for kind in FULL_TIMES if kind != "driver")]
)
def test_no_ping_is_lost_or_doubled(kind: str, mortal_broker: Broker, tmp_path: Path) -> None:
    if said := missing(kind):
        pytest.skip(said)
    outcome = run_campaign(kind, share_of(kind, 0.1), tmp_path, mortal_broker)
    assert (outcome.lost, outcome.doubled, outcome.is_exact) == (0, 0, True), outcome
    assert outcome.pings > 0
