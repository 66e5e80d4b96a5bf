"""Files of settings: every line is a setting, a comment or refused, so that none is lost unseen."""

import os
import threading
from pathlib import Path

import pytest

from streaming import settings_file
from streaming.errors import MissionControlError
from streaming.settings_file import read_config, read_spark_config
from streaming.sources.kafka.topic import Topic

REFUSED = [
    (b"a.b = 1\n[section]\nsecurity.protocol = SASL_SSL\n", "line 2 is a section, '\\[section\\]'"),
    (b"a.b = 1\n  security.protocol = SASL_SSL\n", "line 2 is indented"),
    (b"a.b = 1\n\tmore\n", "line 2 is indented"),
    (b"a.b = 1\nsasl.username: me\n", "line 2 has no ="),
    (b"a.b = 1\n; a comment = so to say\n", "line 2 has a name that no setting has, '; a comment'"),
    (b"= 1\n", "line 1 has a name that no setting has, ''"),
    (b"a b = 1\n", "line 1 has a name that no setting has, 'a b'"),
    (b"a.b = 1\n\na.b = 2\n", "line 3 sets 'a.b' again, which line 1 has set"),
    (b"a.b = 1\nc.d = x\rsecurity.protocol = SSL\n", "line 2 has a control character"),
    (b"a.b = 1\nc.d = \x1b[31m\n", "line 2 has a control character"),
    (b"a.b = 1\n\xef\xbb\xbfc.d = 1\n", "line 2 has a name that no setting has"),
    (b"a.b = 1\nsasl.password = M\xfcller\n", "in UTF-8; line 2 is not"),
    ("a.b = 1\n".encode("utf-16"), "in UTF-8; line 1 is not"),
    (b"a.b = 1\n" * (1 << 18), "a file of settings, up to 1 MB"),
]


@pytest.mark.parametrize(("content", "says"), REFUSED)
def test_line_that_would_be_lost_is_refused_with_its_number(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "kafka.conf"
    path.write_bytes(content)
    with pytest.raises(MissionControlError, match=says):
        read_config(path, "--kafka-config")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_every_setting_of_a_file_is_read(tmp_path: Path, end: bytes) -> None:
    lines = [
        b"\xef\xbb\xbf# of the team",
        b"security.protocol=SASL_SSL",
        b"! more",
        b"  # indented",
        b"",
        b"sasl.password = a=b%c#d [e]",
        "sasl.username = Mü\u2028ller".encode(),
        b"ssl.endpoint.identification.algorithm =",
        b"   ",
    ]
    path = tmp_path / "kafka.conf"
    path.write_bytes(end.join(lines))
    assert read_config(path, "--kafka-config") == {
        "security.protocol": "SASL_SSL",
        "sasl.password": "a=b%c#d [e]",
        "sasl.username": "Mü\u2028ller",
        "ssl.endpoint.identification.algorithm": "",
    }


def test_refusal_of_a_broken_line_does_not_show_a_password(tmp_path: Path) -> None:
    path = tmp_path / "kafka.conf"
    path.write_text("sasl.password = abc\nhunter2\n")
    with pytest.raises(MissionControlError) as refused:
        read_config(path, "--kafka-config")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["bootstrap.servers", "group.id", "isolation.level", "auto.offset.reset"])
def test_setting_of_kafka_that_would_have_no_effect_is_refused(name: str) -> None:
    with pytest.raises(MissionControlError, match=f"{name} in --kafka-config would have no effect"):
        Topic.of("kafka://127.0.0.1:9092/pings", {name: "x"})


def test_setting_of_kafka_that_takes_a_function_is_refused_in_a_sentence() -> None:
    with pytest.raises(MissionControlError, match=r"does not take --kafka-config: .*throttle_cb"):
        Topic.of("kafka://127.0.0.1:9092/pings", {"throttle_cb": "x"}).consumer()


def test_spark_config_does_not_say_where_to_compute(tmp_path: Path) -> None:
    path = tmp_path / "spark.conf"
    path.write_text("spark.master = spark://host:7077\n")
    with pytest.raises(MissionControlError, match="--master"):
        read_spark_config(path)


@pytest.mark.parametrize("name", ["/dev/null", "pipe"])
def test_device_and_pipe_that_nobody_writes_into_are_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_file, "PIPE_TIMEOUT_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / name
    for read in (read_spark_config, lambda path: read_config(path, "--kafka-config")):
        with pytest.raises(MissionControlError, match=f"'{path}'.* expected --.*-config|expected a file as.*'{path}'"):
            read(path)


def test_config_may_come_through_a_pipe() -> None:
    """As the shell's `--kafka-config <(command)` gives it: keys then lie in no file."""
    for seconds in (0.0, 0.3):
        reads, writes = os.pipe()

        def write(writes: int = writes, seconds: float = seconds) -> None:
            threading.Event().wait(seconds)  # a command that asks for a password first
            os.write(writes, b"sasl.username = me\n")
            os.close(writes)

        thread = threading.Thread(target=write)
        thread.start()
        assert read_config(f"/dev/fd/{reads}", "--kafka-config") == {"sasl.username": "me"}
        thread.join()
        os.close(reads)
