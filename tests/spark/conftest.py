"""One Spark session a run."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from streaming.spark.session import spark_session
from tests.spark.engines import BOTH, engine


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    with spark_session("local[2]", tmp_path_factory.mktemp("spark")) as started:
        yield started


@pytest.fixture(scope="session", params=BOTH)
def spark(request: pytest.FixtureRequest) -> SparkSession | None:
    """What `aggregate` takes as spark: None lets processes of this machine count."""
    return engine(request)
