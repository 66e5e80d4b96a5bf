"""Any pings, split in any way into files and micro-batches, give the sums that one plain loop gives."""

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from streaming.job.aggregate import aggregate
from streaming.job.settings import AggregateSettings
from tests.any_pings import DOCUMENTS
from tests.plain_loop import plain_sums
from tests.spark.small_pings import dataset_sums

PACKERS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
RECEIVED_US = [1_506_952_800_000_000, 1_506_953_099_999_999, 1_506_953_100_000_000]


@dataclass(frozen=True)
class PingFile:
    """documents: one or none for a .json; packing: "", .gz or .zst; line_end: what ends each line of a .jsonl."""

    kind: str
    packing: str
    documents: list[bytes]
    line_end: bytes
    received_us: int

    def write(self, folder: Path, number: int) -> None:
        lines = b"".join(document + self.line_end for document in self.documents)
        path = folder / f"{number}{self.kind}{self.packing}"
        path.write_bytes(PACKERS[self.packing](lines))
        os.utime(path, ns=(0, self.received_us * 1000))


def ping_files(kind: str, most_documents: int) -> st.SearchStrategy[PingFile]:
    return st.builds(
        PingFile,
        st.just(kind),
        st.sampled_from(list(PACKERS)),
        st.lists(DOCUMENTS, max_size=most_documents),
        st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
        st.sampled_from(RECEIVED_US),
    )


@settings(max_examples=8, deadline=None)
@given(
    st.lists(ping_files(".json", 1) | ping_files(".jsonl", 30), min_size=1, max_size=4),
    st.sampled_from([1, 5_000, 1 << 30]),
)
def test_any_split_into_files_and_micro_batches_gives_the_plain_loops_sums(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, files: list[PingFile], max_batch_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    (folder / "pings").mkdir()
    for number, file in enumerate(files):
        file.write(folder / "pings", number)
    batch_settings = AggregateSettings(max_batch_bytes=max_batch_bytes)
    summary = aggregate(str(folder / "pings"), str(folder / "dataset"), settings=batch_settings, spark=spark)
    documents = [(document, file.received_us) for file in files for document in file.documents or [b""]]
    assert dataset_sums(folder / "dataset") == plain_sums(documents)
    assert summary.pings == len(documents)
