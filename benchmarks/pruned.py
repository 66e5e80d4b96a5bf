"""What general tools count of pings: crashes and usage by window and build, less than the product reads."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SCHEMA = (
    "struct<submission_timestamp: string, normalized_channel: string, normalized_app_name: string, "
    "normalized_country_code: string, metadata: struct<document_type: string>, "
    "application: struct<buildId: string, version: string, displayVersion: string, architecture: string>, "
    "environment: struct<system: struct<os: struct<name: string, version: string>>>, "
    "payload: struct<processType: string, metadata: struct<StartupCrash: string>, "
    "info: struct<subsessionLength: bigint, subsessionStartDate: string>, "
    "histograms: struct<SLOW_SCRIPT_NOTICE_COUNT: struct<values: map<string, bigint>>>>>"
)
KEYS = (
    "p.normalized_channel",
    "p.normalized_app_name",
    "p.normalized_country_code",
    "p.application",
    "p.environment.system.os",
    "p.metadata.document_type",
    "p.payload.processType",
)
USAGE_SECONDS = "p.payload.info.subsessionLength"
SLOW_SCRIPTS = "p.payload.histograms.SLOW_SCRIPT_NOTICE_COUNT.values"


@contextmanager
def spark_session(cores: int, config: Mapping[str, str] | None = None) -> Iterator["SparkSession"]:
    """A Spark session as a person would start it, with all that makes Java fast in the long run."""
    from pyspark.sql import SparkSession

    from streaming.spark.java import find_java
    from streaming.spark.session import _environment

    settings: dict[str, Any] = {
        "spark.driver.memory": "4g",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
    }
    with tempfile.TemporaryDirectory() as scratch, _environment(find_java(Path(scratch))):
        builder = SparkSession.builder.master(f"local[{cores}]").config("spark.local.dir", scratch)
        spark = builder.config(map={**settings, **(config or {})}).getOrCreate()
        try:
            yield spark
        finally:
            spark.stop()


def count(documents: "DataFrame") -> dict[str, int]:
    """Spark's from_json on the texts in `value`, then groupBy: the pings and bytes of all groups."""
    from pyspark.sql import functions as f

    # `window` drops rows without a time, and a document that is no JSON has none.
    submitted = f.coalesce(f.to_timestamp("p.submission_timestamp"), f.timestamp_seconds(f.lit(0)))
    ping = documents.select(f.from_json("value", SCHEMA).alias("p"), f.octet_length("value").alias("size"))
    rows = (
        ping.groupBy(f.window(submitted, "5 minutes"), *KEYS)
        .agg(
            f.count("*").alias("pings"),
            f.sum("size").alias("bytes"),
            f.sum(USAGE_SECONDS).alias("seconds"),
            f.sum(f.col(SLOW_SCRIPTS)["0"]).alias("slow"),
        )
        .toArrow()
    )
    return {name: sum(rows[name].to_pylist()) for name in ("pings", "bytes")}
