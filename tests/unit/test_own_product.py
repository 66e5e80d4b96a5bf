"""A product of one's own as docs/own-product.md declares it: counted, loaded and shown by processes with its file."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streaming.contract.declared_pings import TABLES, VARIABLE, DeclaredPing, read_declarations
from streaming.contract.products.product_file import read_product
from streaming.errors import MissionControlError
from tests.other_version import ROOT

CLIENTS = ROOT / "tests" / "clients"
DECLARED = CLIENTS / "my_product.toml"
# As glean-sdk's Python client sends it, and the receiver keeps it.
PING = {
    "submission_timestamp": "2026-11-30T20:53:02.208853Z",
    "document_id": "0721adcc-e1d9-4a17-a8cb-bcf00b34ffd7",
    "metadata": {"document_namespace": "my-product", "document_type": "session", "document_version": "1"},
    "normalized_channel": "release",
    "normalized_os": "Linux",
    "client_info": {
        **{"app_build": "20261101000000", "app_channel": "release", "app_display_version": "2.5.0"},
        **{"architecture": "x86_64", "build_date": "1970-01-01T00:00:00+00:00", "first_run_date": "2026-11-30+00:00"},
        **{"os": "Linux", "os_version": "Unknown", "telemetry_sdk_build": "71.0.0"},
    },
    "metrics": {
        "counter": {"documents.slow_opens": 3, "documents.failed_saves": 1},
        "timespan": {"session.length": {"time_unit": "second", "value": 3600}},
    },
    "ping_info": {
        **{"end_time": "2026-11-30T20:53:02.199+00:00", "seq": 0},
        "start_time": "2026-11-30T20:53:02.169+00:00",
    },
}
# Counts the documents of a file, and prints what is loaded and shown of them.
PROGRAM = """
import json, sys
from pathlib import Path
import missioncontrol_nb as mc
from missioncontrol_nb.monitor import Monitor
from streaming import contract
from streaming.contract.products.product_file import read_product
from streaming.pings.kinds import KINDS
from tests.other_version import append

dataset, pings, declared = sys.argv[1:]
product = read_product(declared, [kind.id for kind in KINDS])
append(dataset, "job", [Path(pings).read_bytes().splitlines()], products=(product,))
names = ["display_version", "os_name", "os_version", "architecture"]
measures = ["failed_saves", "slow_opens", "session_pings"]
loaded = mc.load(dataset, application="my-product", every=None, by=names, measures=measures)
table = Monitor(dataset, product="my-product").table("release", "Linux")
rejected = mc.Dataset(dataset).load_rejected()
print(json.dumps({
    "loaded": loaded.to_dict("records"),
    "shown": {row.measure: row.newest.value for row in table.rows},
    "rejected": rejected.groupby("reason")["count"].sum().to_dict(),
    "delays": mc.Dataset(dataset).load_delays().groupby("delay_hours")["usage_hours"].sum().to_dict(),
}))
"""


def ping(**changes: object) -> bytes:
    """The ping with other metrics, by type."""
    return json.dumps(PING | {"metrics": PING["metrics"] | changes}).encode()  # type: ignore[operator]


def run(*command: str, declarations: Path | None = DECLARED) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if declarations:
        environment[VARIABLE] = str(declarations)
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_counters_of_a_declared_ping_are_counted_loaded_and_shown(tmp_path: Path) -> None:
    lines = [
        ping(),
        ping(timespan={}),  # its length is not known
        ping(counter={}, timespan={"session.length": {"time_unit": "millisecond", "value": 1_800_000}}),
        ping(counter={"documents.failed_saves": -1}),
        ping(timespan={"session.length": {"time_unit": "second", "value": -1}}),
        ping(timespan={"session.length": {"time_unit": "fortnight", "value": 1}}),
    ]
    (tmp_path / "pings.jsonl").write_bytes(b"\n".join(lines))
    done = run("-c", PROGRAM, str(tmp_path / "data"), str(tmp_path / "pings.jsonl"), str(DECLARED))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["loaded"] == [
        {
            **{"display_version": "2.5.0", "os_name": "Linux", "os_version": "0", "architecture": "x86-64"},
            **{"count": 3, "usage_hours": 1.5, "failed_saves": 2, "slow_opens": 6, "session_pings": 3},
        }
    ]
    assert found["shown"] == pytest.approx({"failed_saves": 2000 / 1.5, "slow_opens": 6000 / 1.5})
    assert found["rejected"] == {"count_negative": 1, "usage_negative": 1, "wrong_type": 1}
    assert sum(found["delays"].values()) == 1.5


def test_command_without_the_variable_says_to_set_it(tmp_path: Path) -> None:
    (tmp_path / "pings").mkdir()
    command = "-c", "from missioncontrol_nb.cli import main; main()"
    given = "aggregate", str(tmp_path / "pings"), "--dataset", str(tmp_path / "data"), "--product", str(DECLARED)
    done = run(*command, *given, declarations=None)
    assert done.returncode == 1
    assert re.search(rf"line \d+: 'failed_saves' is not known here: set {VARIABLE} to the path", done.stderr)


def test_command_says_in_a_sentence_what_is_wrong_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[pings.session]\n")
    done = run(
        "-c", "from missioncontrol_nb.cli import main; main()", "releases", "show", declarations=tmp_path / "wrong.toml"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "wrong.toml': expected namespace in pings.session as small letters" in done.stderr
    assert "Traceback" not in done.stderr


def test_file_declares_pings_and_measures(tmp_path: Path) -> None:
    found = read_declarations(str(DECLARED))
    session = DeclaredPing("my-product", "session", "session.length")
    assert found.pings == (session,)
    assert [(each.name, each.label, each.ping, each.counter) for each in found.measures] == [
        ("failed_saves", "Failed saves", session, "documents.failed_saves"),
        ("slow_opens", "Slow opens", session, "documents.slow_opens"),
    ]
    assert read_declarations(None).measures == read_declarations("").measures == ()


@pytest.mark.parametrize(
    ("said", "instead", "says"),
    [
        ('usage = "session.length"', 'usage = "length"', "expected a metric as usage in pings.session"),
        ('usage = "session.length"', "usage = 5", "usage in pings.session takes text in quotes, not 5"),
        ("usage =", "usages =", "unknown setting of pings.session 'usages'; did you mean usage"),
        ("[pings.session]", "[pings.Session]", "expected the name of a ping as small letters"),
        ('name = "my-product"', 'name = "My product"', "expected namespace in pings.session as small letters"),
        ('ping = "session"', 'ping = "sesion"', "unknown ping in measures.failed_saves 'sesion'; did you mean session"),
        ('counter = "documents.slow_opens"', "", 'expected counter = "..." in measures.slow_opens'),
        ('counter = "documents.slow_opens"', 'counter = "<b>"', "expected a metric as counter in measures.slow_opens"),
        ("[measures.slow_opens]", "[measures]\nslow_opens = 5\n[other]", "measures.slow_opens takes a table, not 5"),
        ("[pings.session]", "[pings", "is not TOML"),
    ],
)
def test_wrong_declarations_are_refused_with_a_sentence(tmp_path: Path, said: str, instead: str, says: str) -> None:
    text = DECLARED.read_text()
    if "slow_opens = 5" in instead:
        text = text[: text.index("[measures.failed_saves]")] + said
    assert said in text
    (tmp_path / "declared.toml").write_text(text.replace(said, instead))
    with pytest.raises(MissionControlError, match=re.escape(says)):
        read_declarations(str(tmp_path / "declared.toml"))


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissionControlError, match=f"{VARIABLE}=.*cannot be read: No such file"):
        read_declarations(str(tmp_path / "none.toml"))


def test_product_without_the_tables_of_declarations_is_read_as_ever(tmp_path: Path) -> None:
    text = DECLARED.read_text().replace("my-product/session", "telemetry/main")
    text = re.sub(r"^(score|cards) = .*\n", "", text[: text.index(f"[{TABLES[0]}.")], flags=re.MULTILINE)
    (tmp_path / "product.toml").write_text(text)
    assert read_product(tmp_path / "product.toml", ["telemetry/main"]).name == "my-product"


def test_page_shows_the_files_that_were_run() -> None:
    shown = re.findall(
        r"^```\w+ (tests/\S+)\n(.*?)^```", (ROOT / "docs" / "own-product.md").read_text(), re.MULTILINE | re.DOTALL
    )
    files = ["pings.yaml", "metrics.yaml", "my_product.py", "my_product.toml"]
    assert [name for name, _ in shown] == [f"tests/clients/{name}" for name in files]
    for name, text in shown:
        assert text == (ROOT / name).read_text(), name


def test_played_build_is_young_enough_to_count() -> None:
    build = datetime.strptime(str(PING["client_info"]["app_build"]), "%Y%m%d%H%M%S").replace(tzinfo=UTC)  # type: ignore[index]
    assert datetime(2026, 11, 30, tzinfo=UTC) - build < timedelta(days=180)
