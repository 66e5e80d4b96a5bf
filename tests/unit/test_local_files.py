"""Which files are read: regular ones with a known ending, linked folders once each; ignored files are reported."""

import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from streaming.errors import MissionControlError
from streaming.sources.files.batch_log import FileLog
from streaming.sources.files.listing import list_files, why_nothing
from streaming.sources.files.reader import read_documents
from streaming.sources.files.splits import FileSplit, assign_to_tasks, select_batch
from streaming.storage import object_store
from streaming.storage.local_files import (
    BROKEN_LINK,
    FOLDER,
    LINK_CYCLE,
    NO_FILE,
    UNFINISHED,
    UNKNOWN_NAME,
    FileInfo,
    IgnoredFiles,
)
from streaming.storage.retry import NO_RETRIES, RetryPolicy


def listed(source: object) -> tuple[list[str], IgnoredFiles]:
    ignored = IgnoredFiles()
    return sorted(file.path for file in list_files(str(source), ignored=ignored)), ignored


def put(*paths: Path) -> list[str]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"a": 1}\n{"b": 2}\n')
    return sorted(map(str, paths))


def test_endings_of_any_case_are_read(tmp_path):
    names = ("a.ndjson", "B.JSONL", "c.Json", "d.JSONL.GZ", "e.ndjson.zst", "f.json.Zst", "g.jsonl")
    assert listed(tmp_path)[0] == []
    expected = put(*(tmp_path / name for name in names))
    assert listed(tmp_path) == (expected, IgnoredFiles())


@pytest.mark.parametrize(
    ("name", "number"), [("a.NDJSON", 2), ("a.Jsonl", 2), ("a.JSON", 1), ("A.JSONL.GZ", 2), ("a.JSON.gZ", 1)]
)
def test_endings_of_any_case_are_read_as_their_kind(tmp_path, name, number):
    import gzip

    content = b'{"a": 1}\n{"b": 2}\n'
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.lower().endswith("gz") else content)
    assert len(list(read_documents(FileSplit(str(path), 0, path.stat().st_size, 0)))) == number


def test_large_file_of_lines_in_capital_letters_is_shared_out(tmp_path):
    path = tmp_path / "A.NDJSON"
    path.write_bytes(b'{"a": 1}\n' * 2_000_000)
    shares = assign_to_tasks([FileInfo(str(path), path.stat().st_size, 0)], cores=4)
    assert len(shares) > 1


def test_pipes_sockets_and_unknown_names_are_passed_over_and_named(tmp_path):
    expected = put(tmp_path / "a.jsonl")
    os.mkfifo(tmp_path / "p.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.jsonl"))
    put(tmp_path / "b.txt", tmp_path / "_c.jsonl", tmp_path / "d.json.tmp", tmp_path / "_SUCCESS", tmp_path / ".x.crc")
    paths, ignored = listed(tmp_path)
    assert paths == expected
    assert ignored.counts == {NO_FILE: 3, UNKNOWN_NAME: 1, UNFINISHED: 2}
    assert ignored.examples[UNKNOWN_NAME] == str(tmp_path / "b.txt")
    assert {record["reason"]: record["files"] for record in ignored.as_records()} == {
        "no_regular_file": 3, "unknown_name": 1, "unfinished": 2,
    }  # fmt: skip


@pytest.mark.parametrize("pattern", ["", "/*.jsonl", "/**"])
def test_link_to_a_file_that_is_not_there_is_passed_over_and_named(tmp_path, pattern):
    expected = put(tmp_path / "a.jsonl")
    (tmp_path / "dangling.jsonl").symlink_to("/nonexistent")
    paths, ignored = listed(f"{tmp_path}{pattern}")
    assert paths == expected
    assert ignored.as_records() == [
        {"reason": "leads_nowhere", "files": 1, "example": str(tmp_path / "dangling.jsonl")}
    ]
    assert str(ignored) == f"1 {BROKEN_LINK}, such as '{tmp_path}/dangling.jsonl'"


def test_pipe_as_the_source_holds_nothing(tmp_path):
    os.mkfifo(tmp_path / "p.jsonl")
    assert "1 that are no regular files" in why_nothing(str(tmp_path / "p.jsonl"))


def reals(source: object) -> list[str]:
    """The real paths of the files that are listed."""
    return sorted(map(os.path.realpath, listed(source)[0]))


def test_linked_folders_and_files_are_followed_once_each(tmp_path):
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    expected = put(source / "a.jsonl", source / "day" / "b.jsonl", elsewhere / "deep" / "c.jsonl", elsewhere / "d.json")
    (source / "one").symlink_to(elsewhere)
    (source / "day" / "two").symlink_to(elsewhere / "deep")
    (source / "same").symlink_to(source / "day")
    (source / "file.jsonl").symlink_to(elsewhere / "d.json")
    (source / "latest.jsonl").symlink_to("a.jsonl")
    assert reals(source) == expected
    assert {str(source / "a.jsonl"), str(source / "day" / "b.jsonl")} <= set(listed(source)[0])
    for link in ("0", "zz"):  # whichever link is found first
        (source / link).symlink_to(elsewhere)
        assert reals(source) == expected


def test_link_to_a_file_whose_name_is_no_ping_file_s_is_read_by_its_own(tmp_path):
    put(tmp_path / "blobs" / "e3b0c442")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.jsonl").symlink_to(tmp_path / "blobs" / "e3b0c442")
    assert listed(tmp_path / "source")[0] == [str(tmp_path / "source" / "a.jsonl")]


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
    assert reals(f"{source}/**/current/*.jsonl") == [str(elsewhere / "c.jsonl")]
    assert reals(f"{source}/2017/**/*.jsonl") == [str(elsewhere / "c.jsonl"), str(source / "2017" / "a.jsonl")]
    assert reals(f"{source}/**/*.jsonl") == sorted(
        [str(elsewhere / "c.jsonl"), str(source / "2017" / "a.jsonl"), str(source / "top.jsonl")]
    )


PATTERNS = ["", "/**", "/**/*.jsonl", "/*/*.jsonl"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("is_top_linked", [False, True])
def test_file_counts_once_however_it_is_linked_and_moved(tmp_path, pattern, is_top_linked):
    real, elsewhere = tmp_path / "real", tmp_path / "elsewhere"
    put(real / "2017" / "a.jsonl", elsewhere / "b.jsonl")
    source = tmp_path / "source" if is_top_linked else real
    if is_top_linked:
        source.symlink_to(real)
    log = FileLog(tmp_path / "files.log")

    def new() -> list[str]:
        files = select_batch(list_files(f"{source}{pattern}"), log.seen, None)
        if files:
            log.append(files)
        return sorted(Path(file.path).name for file in files)

    assert new() == ["a.jsonl"]
    (source / "2016").symlink_to(real / "2017")
    (source / "2019").symlink_to(elsewhere)
    assert new() == ["b.jsonl"]
    (source / "2018").symlink_to(elsewhere)
    (real / "2017").rename(tmp_path / "archive")
    (source / "2017").symlink_to(tmp_path / "archive")
    (source / "2016").unlink()
    assert new() == []
    elsewhere.rename(tmp_path / "moved")
    (source / "2018").unlink()
    (source / "2019").unlink()
    (source / "2019").symlink_to(tmp_path / "moved")
    (source / "2017" / "latest.jsonl").symlink_to("a.jsonl")
    assert new() == []
    put(tmp_path / "moved" / "c.jsonl")
    assert new() == ["c.jsonl"]
    assert FileLog(tmp_path / "files.log").seen == log.seen


@pytest.mark.parametrize("pattern", PATTERNS)
def test_link_to_a_folder_that_holds_it_or_the_source_is_named_and_not_followed(tmp_path, pattern):
    source, elsewhere = tmp_path / "all" / "source", tmp_path / "elsewhere"
    expected = put(source / "day" / "a.jsonl", elsewhere / "deep" / "b.jsonl")
    put(tmp_path / "all" / "not_asked_for.jsonl", elsewhere / "neither.jsonl")
    for link in ("day/up", "up"):
        (source / link).symlink_to(tmp_path / "all")
    (source / "there").symlink_to(elsewhere / "deep")
    (elsewhere / "deep" / "back").symlink_to(tmp_path / "all")
    (elsewhere / "deep" / "holder").symlink_to(elsewhere)
    paths, ignored = listed(f"{source}{pattern}")
    assert sorted(map(os.path.realpath, paths)) == expected
    assert ignored.counts.pop(LINK_CYCLE) == (1 if pattern == "/*/*.jsonl" else 4)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_links_over_several_folders_are_followed_alike(tmp_path, pattern):
    source = tmp_path / "source"
    expected = put(source / "day" / "a.jsonl", tmp_path / "e" / "p" / "q" / "n.jsonl")
    (source / "l1").symlink_to(tmp_path / "e" / "p" / "q")
    (tmp_path / "e" / "p" / "q" / "l2").symlink_to(tmp_path / "f")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "l3").symlink_to(tmp_path / "e" / "p" / "q")
    assert reals(f"{source}{pattern}") == expected


@pytest.mark.parametrize("pattern", ["/*/*.jsonl", "/**/*.jsonl"])
def test_globs_take_folders_of_unfinished_files_only_by_their_names(tmp_path, pattern):
    put(tmp_path / "_in" / "a.jsonl", tmp_path / "b.tmp" / "b.jsonl", tmp_path / "day" / "c.jsonl")
    assert listed(f"{tmp_path}{pattern}")[0] == [str(tmp_path / "day" / "c.jsonl")]
    assert listed(f"{tmp_path}{pattern.replace('*/', '_in/', 1)}")[0] == (
        [str(tmp_path / "_in" / "a.jsonl")] if pattern == "/*/*.jsonl" else []
    )
    assert listed(f"{tmp_path}/**/_in/*.jsonl")[0] == [str(tmp_path / "_in" / "a.jsonl")]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_folder_that_nobody_may_read_is_a_file_that_cannot_be_read(tmp_path, pattern, monkeypatch):
    expected = put(tmp_path / "day" / "a.jsonl", tmp_path / "locked" / "b.jsonl")
    scan = os.scandir

    def locked(folder: str) -> object:
        if folder.endswith("locked"):
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", locked)
    files = list_files(f"{tmp_path}{pattern}")
    assert sorted((file.path, file.size < 0) for file in files) == [(expected[0], False), (f"{tmp_path}/locked/", True)]


def test_link_that_goes_while_it_is_resolved_takes_no_other_file_along(tmp_path, monkeypatch):
    expected = put(tmp_path / "a.jsonl", tmp_path / "z.jsonl")
    (tmp_path / "m").symlink_to(tmp_path)
    resolve = os.path.realpath

    def gone(path: str) -> str:
        if path.endswith("/m"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return resolve(path)

    monkeypatch.setattr(os.path, "realpath", gone)
    assert listed(tmp_path)[0] == expected


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
    paths, ignored = listed(f"memory://{tmp_path.name}")
    assert [path.rsplit("/", 1)[-1] for path in paths] == ["B.JSONL", "a.ndjson", "e.json.GZ"]
    assert ignored.counts == {UNKNOWN_NAME: 1, UNFINISHED: 1}
    filesystem.pipe(f"/{tmp_path.name}/_y/g.json", b"{}")
    for pattern, number in {"_y/*.json": 1, "*/_y/*.json": 0, "*/*.json": 0, "_*/g.json": 0, "d*/*.json.GZ": 1}.items():
        assert len(listed(f"memory://{tmp_path.name}/{pattern}")[0]) == number, pattern


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.jsonl", "http://127.0.0.1:1/x.jsonl?a=b", "ftp://127.0.0.1:1/x"])
def test_server_that_cannot_be_reached_is_not_one_that_has_nothing(url):
    with pytest.raises(MissionControlError, match=f"cannot reach '{re.escape(url)}': .*(refused|Connect call failed)"):
        object_store.require(url, NO_RETRIES)


@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_host_that_nobody_knows_is_not_waited_for(scheme, monkeypatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    told: list[str | None] = []
    with pytest.raises(MissionControlError, match=f"cannot reach '{scheme}://x/y.jsonl': .*Name or service not known"):
        object_store.require(f"{scheme}://x/y.jsonl", RetryPolicy(told.append, timeout_seconds=10))
    assert told == []


@pytest.mark.parametrize(("code", "says"), [(404, "nothing there"), (403, "cannot reach .*: 403, message='Forbidden'")])
def test_server_that_answers_without_the_file_is_told_by_its_answer(code, says):
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(code)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(MissionControlError, match=says):
            object_store.require(f"http://127.0.0.1:{server.server_port}/x.jsonl", NO_RETRIES)
        server.shutdown()
