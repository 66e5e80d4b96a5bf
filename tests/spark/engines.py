"""What streams a job in these tests: Spark, or processes of this machine."""

import pytest
from pyspark.sql import SparkSession

BOTH = ["Spark", "processes"]
SPARK_IN_LONG_TESTS = [pytest.param("Spark", marks=pytest.mark.long), "processes"]


def engine(request: pytest.FixtureRequest) -> SparkSession | None:
    """What `aggregate` takes as spark, for the name that is the fixture's parameter."""
    session: SparkSession | None = request.getfixturevalue("session") if request.param == "Spark" else None
    return session
