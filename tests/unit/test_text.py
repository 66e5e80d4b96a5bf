"""Byte order marks in files of pings, which may be several files put together."""

import gzip
from pathlib import Path

import pytest

from streaming.pings.text import as_decodable, without_marks
from streaming.sources.files.reader import read_documents
from streaming.sources.files.splits import FileSplit

MARK = b"\xef\xbb\xbf"


def documents_of(path: Path, content: bytes, start: int = 0) -> list[bytes]:
    path.write_bytes(content)
    return list(read_documents(FileSplit(str(path), start, len(content), 0)))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_byte_order_mark_at_the_start_of_any_line_is_passed_over(tmp_path: Path, name: str) -> None:
    content = (
        MARK + b"{1}\r\n{2}\n" + MARK + b"{3}\r\n" + MARK + MARK + b" {4}\n" + MARK + b"\r\n" + MARK + b" \n" + MARK
    )
    packed = gzip.compress(content) if name.endswith("gz") else content
    assert documents_of(tmp_path / name, packed) == [b"{1}", b"{2}", b"{3}", b"{4}"]


def test_byte_order_mark_at_the_start_of_a_later_piece_is_passed_over(tmp_path: Path) -> None:
    content = b"{1}\n" + MARK + b"{2}\n"
    assert documents_of(tmp_path / "a.jsonl", content, start=4) == [b"{2}"]


@pytest.mark.parametrize("content", [MARK, MARK + b"\r\n", MARK + MARK + b"\n\n" + MARK])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_file_of_nothing_but_byte_order_marks_holds_no_document(tmp_path: Path, name: str, content: bytes) -> None:
    assert documents_of(tmp_path / name, content) == []


def test_text_that_needs_no_change_is_the_same_object() -> None:
    for text in (b"", b" {}", rb'{"a": "\\ud83d"}', rb'{"a": "\ud83d\ude00"}', b"\xef\xbb{}", b"{" + MARK + b"}"):
        assert without_marks(text) is text
        assert as_decodable(text) == text
