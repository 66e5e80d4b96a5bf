"""Faults of `make faults`, with the same code: one of each kind that needs nothing but a broker.

`make long` has one of each other kind, and all forced points.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.faults.campaign import FILES, FULL_TIMES, missing, run_campaign
from tests.services.kafka import Broker

FORCED = {"forced points": FULL_TIMES["forced points"]}
HERE = {"driver": 1, "Java": 1, "broker": 1, "maintenance": 1}  # on one machine, into a folder
IN_FILES = {FILES: 3}
MIXED = {kind: 1 for kind in FULL_TIMES if kind not in (*FORCED, *HERE, *IN_FILES)}


@pytest.fixture
def mortal_broker(broker: Broker) -> Iterator[Broker]:
    """The broker of all tests, which runs again after this one."""
    yield broker
    if not broker.is_running:
        broker.start()


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(HERE, id="here"),
        pytest.param(IN_FILES, id="in files", marks=pytest.mark.long),
        pytest.param(MIXED, id="mixed", marks=pytest.mark.long),
        pytest.param(FORCED, id="forced points", marks=pytest.mark.long),
    ],
)
def test_no_ping_is_lost_or_doubled(faults: Mapping[str, int], mortal_broker: Broker, tmp_path: Path) -> None:
    if said := missing(faults):
        pytest.skip(said)
    outcome = run_campaign(faults, tmp_path, mortal_broker)
    assert (outcome.lost, outcome.doubled, outcome.is_exact) == (0, 0, True), outcome
    assert outcome.pings > 0
