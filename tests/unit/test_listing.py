"""Which files are read: regular ones with a known ending, linked folders once each; ignored files are reported."""

import os
import socket
from pathlib import Path

import pytest

from streaming.files import Listed, Piece, list_files, read_documents, share_out, why_nothing
from streaming.listing import FOLDER, LEADS_BACK, NO_FILE, UNFINISHED, UNKNOWN_NAME, PassedOver


def listed(source: object) -> tuple[list[str], PassedOver]:
    passed = PassedOver()
    return sorted(file.path for file in list_files(str(source), passed=passed)), passed


def put(*paths: Path) -> list[str]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"a": 1}\n{"b": 2}\n')
    return sorted(map(str, paths))


def test_endings_of_any_case_are_read(tmp_path):
    names = ("a.ndjson", "B.JSONL", "c.Json", "d.JSONL.GZ", "e.ndjson.zst", "f.json.Zst", "g.jsonl")
    assert listed(tmp_path)[0] == []
    expected = put(*(tmp_path / name for name in names))
    assert listed(tmp_path) == (expected, PassedOver())


@pytest.mark.parametrize(
    ("name", "number"), [("a.NDJSON", 2), ("a.Jsonl", 2), ("a.JSON", 1), ("A.JSONL.GZ", 2), ("a.JSON.gZ", 1)]
)
def test_endings_of_any_case_are_read_as_their_kind(tmp_path, name, number):
    import gzip

    content = b'{"a": 1}\n{"b": 2}\n'
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.lower().endswith("gz") else content)
    assert len(list(read_documents(Piece(str(path), 0, path.stat().st_size, 0)))) == number


def test_large_file_of_lines_in_capital_letters_is_shared_out(tmp_path):
    path = tmp_path / "A.NDJSON"
    path.write_bytes(b'{"a": 1}\n' * 2_000_000)
    shares = share_out([Listed(str(path), path.stat().st_size, 0)], cores=4)
    assert len(shares) > 1


def test_pipes_sockets_and_unknown_names_are_passed_over_and_named(tmp_path):
    expected = put(tmp_path / "a.jsonl")
    os.mkfifo(tmp_path / "p.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.jsonl"))
    put(tmp_path / "b.txt", tmp_path / "_c.jsonl", tmp_path / "d.json.tmp", tmp_path / "_SUCCESS", tmp_path / ".x.crc")
    paths, passed = listed(tmp_path)
    assert paths == expected
    assert passed.counts == {NO_FILE: 3, UNKNOWN_NAME: 1, UNFINISHED: 2}
    assert passed.examples[UNKNOWN_NAME] == str(tmp_path / "b.txt")
    assert {record["reason"]: record["files"] for record in passed.as_records()} == {
        "no_regular_file": 3, "unknown_name": 1, "unfinished": 2,
    }  # fmt: skip


def test_pipe_as_the_source_holds_nothing(tmp_path):
    os.mkfifo(tmp_path / "p.jsonl")
    assert "1 that are no regular files" in why_nothing(str(tmp_path / "p.jsonl"))


def test_linked_folders_are_followed_once_each_by_their_real_paths(tmp_path):
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    expected = put(source / "a.jsonl", source / "day" / "b.jsonl", elsewhere / "deep" / "c.jsonl", elsewhere / "d.json")
    (source / "one").symlink_to(elsewhere)
    (source / "day" / "two").symlink_to(elsewhere / "deep")
    (source / "same").symlink_to(source / "day")
    (source / "file.jsonl").symlink_to(elsewhere / "d.json")
    assert listed(source)[0] == sorted([*expected, str(source / "file.jsonl")])
    for link in ("0", "zz"):  # whichever link is found first
        (source / link).symlink_to(elsewhere)
        assert listed(source)[0] == sorted([*expected, str(source / "file.jsonl")])


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.jsonl"])
def test_loop_of_links_ends(tmp_path, pattern):
    source = tmp_path / "source"
    expected = put(source / "a.jsonl", source / "day" / "b.jsonl")
    for name, target in {
        "l1": ".",
        "l2": "..",
        "day/l3": "..",
        "day/l4": ".",
        "self": "self",
        "x.jsonl": "x.jsonl",
    }.items():
        (source / name).symlink_to(target)
    (tmp_path / "up").symlink_to(source)
    paths, _ = listed(f"{source}{pattern}")
    assert [path for path in paths if not path.endswith("x.jsonl")] == expected
    assert [file.size for file in list_files(f"{source}{pattern}") if file.path.endswith("x.jsonl")] == [-1]


def test_glob_with_two_stars_follows_links(tmp_path):
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    put(elsewhere / "c.jsonl", source / "2017" / "a.jsonl", source / "2017" / "b.txt", source / "top.jsonl")
    (source / "2017" / "current").symlink_to(elsewhere)
    assert listed(f"{source}/**/current/*.jsonl")[0] == [str(elsewhere / "c.jsonl")]
    assert listed(f"{source}/2017/**/*.jsonl")[0] == [str(elsewhere / "c.jsonl"), str(source / "2017" / "a.jsonl")]
    assert listed(f"{source}/**/*.jsonl")[0] == sorted(
        [str(elsewhere / "c.jsonl"), str(source / "2017" / "a.jsonl"), str(source / "top.jsonl")]
    )


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.jsonl", "/*/*.jsonl"])
@pytest.mark.parametrize("is_top_linked", [False, True])
def test_file_that_several_names_lead_to_has_one_that_no_further_link_changes(tmp_path, pattern, is_top_linked):
    real, elsewhere = tmp_path / "real", tmp_path / "elsewhere"
    put(real / "2017" / "a.jsonl", elsewhere / "b.jsonl")
    source = tmp_path / "source" if is_top_linked else real
    if is_top_linked:
        source.symlink_to(real)
    expected = [str(elsewhere / "b.jsonl"), str(source / "2017" / "a.jsonl")]
    for name in ("2018", "2016"):
        (source / name).symlink_to(real / "2017")
        (source / f"{name}x").symlink_to(elsewhere)
        assert listed(f"{source}{pattern}")[0] == sorted(expected)


@pytest.mark.parametrize("pattern", ["", "/**/*.jsonl"])
def test_link_to_a_folder_that_holds_it_or_the_source_is_named_and_not_followed(tmp_path, pattern):
    source, elsewhere = tmp_path / "all" / "source", tmp_path / "elsewhere"
    expected = put(source / "a.jsonl", elsewhere / "deep" / "b.jsonl")
    put(tmp_path / "all" / "not_asked_for.jsonl", elsewhere / "neither.jsonl")
    (source / "up").symlink_to(tmp_path / "all")
    (source / "there").symlink_to(elsewhere / "deep")
    (elsewhere / "deep" / "back").symlink_to(tmp_path / "all")
    (elsewhere / "deep" / "holder").symlink_to(elsewhere)
    paths, passed = listed(f"{source}{pattern}")
    assert paths == expected
    assert passed.counts == {LEADS_BACK: 3}


def test_source_without_a_ping_file_says_what_was_passed_over(tmp_path):
    assert why_nothing(str(tmp_path)).endswith("nothing is there")
    put(tmp_path / "a.txt", tmp_path / "b.txt")
    assert why_nothing(str(tmp_path)).endswith(f"2 {UNKNOWN_NAME}, such as {str(tmp_path / 'a.txt')!r}") or why_nothing(
        str(tmp_path)
    ).endswith(f"2 {UNKNOWN_NAME}, such as {str(tmp_path / 'b.txt')!r}")
    (tmp_path / "day").mkdir()
    assert f"1 {FOLDER}" in why_nothing(f"{tmp_path}/d*")
    assert "nothing is there" in why_nothing(f"{tmp_path}/x*.jsonl")
    put(tmp_path / "day" / "a.json")
    assert why_nothing(str(tmp_path)) is None


def test_names_that_are_passed_over_fake_no_lines(tmp_path):
    put(tmp_path / "a\n\x1b[31mFAKE.txt")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("")
    why = why_nothing(str(tmp_path))
    assert why.isprintable()
    assert "\\n\\x1b[31mFAKE.txt" in why or "\\udcff.txt" in why


def test_remote_files_that_are_passed_over_are_counted(tmp_path):
    import fsspec

    filesystem = fsspec.filesystem("memory")
    for name in ("a.ndjson", "B.JSONL", "c.txt", "_d.json", "day/e.json.GZ", "_x/f.txt"):
        filesystem.pipe(f"/{tmp_path.name}/{name}", b"{}")
    paths, passed = listed(f"memory://{tmp_path.name}")
    assert [path.rsplit("/", 1)[-1] for path in paths] == ["B.JSONL", "a.ndjson", "e.json.GZ"]
    assert passed.counts == {UNKNOWN_NAME: 1, UNFINISHED: 1}
