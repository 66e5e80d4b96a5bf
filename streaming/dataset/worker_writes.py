"""Files that a cluster's tasks write into a dataset's tables; the driver commits them and receives no grouped rows.

A task that runs again writes other files; only the files of the run that Spark reports are committed. The other files,
and those of a killed job, are in no commit; `missioncontrol maintain` reports how many there are.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from streaming import contract
from streaming.aggregation.spill import spilled
from streaming.errors import MissionControlError
from streaming.spark.python_start import skip_pandas_import
from streaming.storage.locations import is_remote

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake.transaction import AddAction
    from pyspark.sql import DataFrame


def spill_rows(partials: "DataFrame", dataset: str, max_rows: int) -> "DataFrame":
    """Rows of contract.partial_schema(); each task writes rows beyond max_rows to files, as spilled does."""
    from pyspark.sql.pandas.types import from_arrow_schema

    schema = from_arrow_schema(contract.partial_schema(), prefer_timestamp_ntz=False)
    return partials.select(contract.partial_schema().names).mapInArrow(
        partial(_spill_share, dataset=dataset, max_rows=max_rows), schema
    )


def _spill_share(batches: "Iterator[pa.RecordBatch]", dataset: str, max_rows: int) -> "Iterator[pa.RecordBatch]":
    skip_pandas_import()
    yield from spilled(batches, dataset, max_rows)


def check_visible(dataset: str, files: "dict[str, list[AddAction]]") -> None:
    """Raises MissionControlError where files that tasks wrote are not visible in the dataset on this machine."""
    if is_remote(dataset):
        return
    unseen = [f"{table}/{each.path}" for table, added in files.items() for each in added
              if not Path(dataset, table, each.path).is_file()]  # fmt: skip
    if unseen:
        raise MissionControlError(
            f"workers wrote {unseen[0]!r} and it is not in the dataset {dataset!r} here: with --write-from workers the "
            "dataset must be a folder that all share, or an s3:// URL"
        )
