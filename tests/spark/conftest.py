"""One Spark session a run."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from streaming.spark.session import spark_session


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    with spark_session("local[2]", tmp_path_factory.mktemp("spark")) as session:
        yield session
