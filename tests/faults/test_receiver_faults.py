"""Clients post to a receiver that is killed, whose disk is full or loses power, whose broker is away: what is lost?

Run with -s it prints a line of counts for each fault.
"""

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import wait_until
from tests.services import kafka, power
from tests.services.power import power_cut_folder
from tests.services.receiver import HEAD, Clients, ReceiverProcess, account, get, ids_in

CLEAN = (0, 0)


@pytest.fixture(scope="module", autouse=True)
def _head() -> None:
    print(f"\n{HEAD}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[power.PowerCutFolder]:
    """A folder whose power can be cut, and which is full at 300 kB."""
    if said := power.missing():
        pytest.skip(said)
    with power_cut_folder(tmp_path, capacity_bytes=300_000) as folder:
        yield folder


def killed_again_and_again(folder: Path, times: int, seed: int = 0) -> Clients:
    """Clients of a receiver that is killed while it works, and started again; its options change the files' number."""
    chance = random.Random(seed)
    receiver = ReceiverProcess(folder, "--file-seconds", "0.3").start()
    with Clients(receiver.port) as clients:
        for _ in range(times):
            clients.wait_for(chance.randrange(20, 200))
            receiver.kill()
            receiver.start()
        clients.wait_for(50)
    receiver.stop()
    return clients


@pytest.mark.parametrize("times", [3, pytest.param(40, marks=pytest.mark.long)])
def test_killed_receiver_loses_and_doubles_nothing(tmp_path: Path, times: int) -> None:
    clients = killed_again_and_again(tmp_path / "pings", times)
    assert account(f"kill -9, {times} times", clients, ids_in(tmp_path / "pings")) == CLEAN
    assert clients.unheard
    assert list((tmp_path / "pings").glob(".*")) == []


def test_full_disk_loses_and_doubles_nothing(disk: power.PowerCutFolder, tmp_path: Path) -> None:
    pings, archive = disk.folder / "pings", tmp_path / "archive"
    archive.mkdir()
    with ReceiverProcess(pings, "--file-seconds", "0.3") as receiver, Clients(receiver.port) as clients:
        for _ in range(2):
            wait_until(lambda: clients.answers[507], "an answer 507", every=0.02)
            assert "ENOSPC" in receiver.counts()["not_kept"]
            assert get(receiver.port, "/__heartbeat__")[0] == 503
            assert get(receiver.port, "/__lbheartbeat__")[0] == 200
            for path in pings.glob("*.jsonl"):  # makes room, as an operator does
                shutil.copy(path, archive / path.name)
                path.unlink()
            clients.wait_for(100)
            clients.answers[599] += clients.answers.pop(507)
    kept = [*ids_in(archive), *ids_in(pings)]
    assert account("full disk, twice", clients, kept) == CLEAN
    assert not clients.unheard


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 12))])
def test_power_cut_loses_and_doubles_nothing(disk: power.PowerCutFolder, seed: int) -> None:
    pings = disk.folder / "pings"
    receiver = ReceiverProcess(pings, "--file-seconds", "0.2").start()
    with Clients(receiver.port, number=2) as clients:
        clients.wait_for(60)
        receiver.kill()
        disk.cut(random.Random(seed))
        receiver.start()
        clients.wait_for(30)
    receiver.stop()
    assert account("power cut", clients, ids_in(pings)) == CLEAN


def ids_of(broker: kafka.Broker, topic: str) -> list[str]:
    return [json.loads(message)["document_id"] for message in broker.held(topic)]


@pytest.mark.long
def test_broker_that_is_away_for_a_while_loses_and_doubles_nothing(broker: kafka.Broker) -> None:
    """Requests wait for the broker to come back, as long as clients would."""
    broker.create("away", 2)
    with ReceiverProcess(f"kafka://{broker.address}/away") as receiver, Clients(receiver.port) as clients:
        clients.wait_for(200)
        broker.kill()
        time.sleep(0.5)
        answered = len(clients.answered)
        time.sleep(0.5)
        assert len(clients.answered) == answered
        broker.start()
        clients.wait_for(100)
    assert account("broker away, 4 s", clients, ids_of(broker, "away")) == CLEAN
    assert clients.answers.keys() == {200}


@pytest.mark.long
def test_broker_that_is_away_for_longer_is_answered_503(broker: kafka.Broker) -> None:
    broker.create("gone", 2)
    with ReceiverProcess(f"kafka://{broker.address}/gone") as receiver, Clients(receiver.port) as clients:
        clients.wait_for(200)
        broker.kill()
        try:
            wait_until(lambda: clients.answers[503], "an answer 503")
            assert get(receiver.port, "/__heartbeat__")[0] == 503
        finally:
            broker.start()
        clients.wait_for(100)
        assert get(receiver.port, "/__heartbeat__")[0] == 200
    kept = ids_of(broker, "gone")
    lost, _ = account("broker away, 25 s", clients, kept)
    assert lost == 0


@pytest.mark.long
def test_killed_receiver_into_a_topic_loses_and_doubles_nothing(broker: kafka.Broker) -> None:
    broker.create("killed", 2)
    receiver = ReceiverProcess(f"kafka://{broker.address}/killed").start()
    with Clients(receiver.port) as clients:
        for _ in range(2):
            clients.wait_for(150)
            receiver.kill()
            receiver.start()
        clients.wait_for(50)
    receiver.stop()
    assert account("kill -9 before Kafka", clients, ids_of(broker, "killed")) == CLEAN
