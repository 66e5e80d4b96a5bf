"""A product in a TOML file of its own: what it may say, and the sentence for each thing that it may not."""

from pathlib import Path

import pytest

from streaming import contract
from streaming.contract import with_declared
from streaming.contract.products.product_file import LARGEST_FILE_BYTES, as_document, product_of, read_product
from streaming.errors import MissionControlError
from streaming.pings.kinds import KINDS

KNOWN = [kind.id for kind in KINDS]
THUNDERBIRD = """
name = "Thunderbird"
kinds = ["telemetry/main"]

[channels]
release = "Release"
beta = "Beta"

[platforms]
Windows_NT = "Windows"
Linux = "Linux"
Darwin = { label = "macOS", kinds = ["telemetry/main", "telemetry/crash"], application = "Thunderbird for Mac" }
"""


def read(tmp_path: Path, text: str) -> contract.Product:
    path = tmp_path / "product.toml"
    path.write_text(text)
    return read_product(path, KNOWN)


def test_product_has_what_its_file_says_and_defaults_for_the_rest(tmp_path: Path) -> None:
    product = read(tmp_path, THUNDERBIRD)
    assert (product.name, product.label, product.word, product.calendar) == (
        *("Thunderbird", "Thunderbird", "thunderbird"),
        None,
    )
    assert product.channel_names == ("release", "beta")
    assert product.os_names == ("Windows_NT", "Linux", "Darwin")
    assert product.applications == ("Thunderbird", "Thunderbird for Mac")
    assert product.platform("Linux").kinds == ("telemetry/main",)
    assert product.platform("Darwin").kinds == ("telemetry/main", "telemetry/crash")
    assert product.platform("Darwin").word == "macos"
    assert product.builds == contract.BuildRules("time", 6)
    assert product.score == ("main_crashes", "content_crashes")


def test_product_is_the_same_after_a_dataset_has_kept_it(tmp_path: Path) -> None:
    for text in (THUNDERBIRD, THUNDERBIRD + '[builds]\nid = "text"\n', THUNDERBIRD + "[builds]\nlife_months = 0\n"):
        product = read(tmp_path, text)
        assert product_of(as_document(product)) == product


GLEAN = THUNDERBIRD.replace(
    'kinds = ["telemetry/main"]', 'kinds = ["telemetry/main", "telemetry/crash", "glean/crash"]'
)


def test_kind_that_replaces_others_does_so_from_the_version_that_is_said(tmp_path: Path) -> None:
    crashes = contract.measure("main_crashes")
    always = read(tmp_path, GLEAN).platform("Linux")
    assert always.kinds_of(crashes, "1.0") == ("glean/crash",)
    product = read(tmp_path, GLEAN + '[since]\n"glean/crash" = "150"\n')
    for platform in (product.platform("Linux"), product_of(as_document(product)).platform("Linux")):
        assert platform.kinds_of(crashes, "149.0.2") == ("telemetry/crash",)
        assert platform.kinds_of(crashes, "150.0a1") == ("glean/crash",)
    for wrong, says in (
        ('"telemetry/crash" = "150"', "kind of ping that replaces others"),
        ('"glean/crash" = 5', "got 5"),
    ):
        with pytest.raises(MissionControlError, match=says):
            read(tmp_path, f"{GLEAN}[since]\n{wrong}\n")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "Thunderbird"', "name = Thunderbird", "is not TOML: .*line 2"),
        ('name = "Thunderbird"\n', "", 'expected name = "..."'),
        ('name = "Thunderbird"', 'nmae = "Thunderbird"', "line 2: unknown setting of a product 'nmae'; .* name"),
        ('name = "Thunderbird"', "name = 5", "line 2: name takes text in quotes, not 5"),
        ('name = "Thunderbird"', 'name = "<b>"', "line 2: name takes 1 to 100 letters .* got '<b>'"),
        ('"telemetry/main"]\n\n', '"telemetry/man"]\n\n', "line 3: unknown kind of ping 'telemetry/man'; did you mean"),
        ('["telemetry/main"]\n\n', '"telemetry/main"\n\n', "line 3: kinds takes a list of texts"),
        ('["telemetry/main"]\n\n', "[]\n\n", "line 3: expected at least one kind of ping"),
        ('release = "Release"\nbeta = "Beta"\n', "", "line 5: expected at least one of channels, such as"),
        ('release = "Release"', "release = 1", "line 6: release takes text in quotes, not 1"),
        ('Windows_NT = "Windows"', "Windows_NT = 1", "line 10: Windows_NT takes text in quotes, or a table"),
        ('Linux = "Linux"', 'Linux = { lable = "Linux" }', "line 11: unknown setting of a platform 'lable'; .* label"),
        ('Linux = "Linux"', 'Linux = "Windows"', "two platforms are labelled 'Windows'"),
        ("[platforms]", "[platform]", "line 9: unknown setting of a product 'platform'; did you mean platforms"),
        ("[channels]", 'score = ["main_crash"]\n[channels]', "line 5: unknown measure 'main_crash'; .* main_crashes"),
        ("[platforms]", '[builds]\nid = "tim"\n[platforms]', "line 10: unknown form of a build id 'tim'; .* time"),
        ("[platforms]", "[builds]\nlife_months = -1\n[platforms]", "line 10: expected 0 .* to 1200 months; got -1"),
        ("[platforms]", '[builds]\nid = "text"\nlife_months = 6\n[platforms]', "line 11: builds whose id is text"),
    ],
)  # fmt: skip
def test_wrong_file_is_refused_with_its_line_and_the_near_word(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert THUNDERBIRD.count(old) == 1
    with pytest.raises(MissionControlError, match=says):
        read(tmp_path, THUNDERBIRD.replace(old, new))


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b"\xff", "not UTF-8"), (b"#" * (LARGEST_FILE_BYTES + 1), "larger")]
)
def test_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "product.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MissionControlError, match=says):
        read_product(path, KNOWN)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"Thunderbird for Mac"', '"Firefox"'), "or an application of the product 'Firefox'"),
        (('name = "Thunderbird"', 'name = "Firefox"'), "has the name, .* of the product 'Firefox'"),
        (('name = "Thunderbird"', 'name = "fire fox"'), None),
        (('name = "Thunderbird"', 'name = "FIREFOX"'), r"the word in URLs \(firefox\)"),
    ],
)
def test_product_does_not_take_another_ones_pings(tmp_path: Path, change: tuple[str, str], says: str | None) -> None:
    product = read(tmp_path, THUNDERBIRD.replace(*change).replace("Thunderbird for Mac", "Firefox for Mac"))
    if says is None:
        assert with_declared((), [product]).named("fire fox") == product
        return
    with pytest.raises(MissionControlError, match=says):
        with_declared((), [product])


def test_declaration_takes_the_place_of_a_stored_one_that_it_corrects(tmp_path: Path) -> None:
    wrong = read(tmp_path, THUNDERBIRD.replace('name = "Thunderbird"', 'name = "Thunderbrid"'))
    right = read(tmp_path, THUNDERBIRD)
    others = tuple(each for each in contract.PRODUCTS if each.name != "Thunderbird")
    assert with_declared([wrong], [right]).all == (*others, right)
    assert with_declared([right]).all == (*others, right), "it replaces the packaged one, too"
    of_a_later_package = read(tmp_path, THUNDERBIRD.replace("Thunderbird for Mac", "Fennec"))
    assert with_declared([of_a_later_package]).all == contract.PRODUCTS, "readers go on"


def test_measures_of_a_product_are_those_of_its_kinds(tmp_path: Path) -> None:
    product = read(tmp_path, THUNDERBIRD.replace(', "telemetry/crash"]', "]"))
    assert "main_crashes" not in product.measures
    assert set(product.score) <= set(product.measures)
    assert set(product.cards) <= set(product.measures)
    only_crashes = THUNDERBIRD.replace('["telemetry/main", "telemetry/crash"]', '["telemetry/main"]')
    with pytest.raises(MissionControlError, match=r"line 5: .*main_crashes.* none of its kinds of ping"):
        read(tmp_path, only_crashes.replace("[channels]", 'cards = ["main_crashes"]\n[channels]'))
    with pytest.raises(MissionControlError, match="line 3: no measure"):
        read(tmp_path, only_crashes.replace("telemetry/main", "telemetry/core"))
