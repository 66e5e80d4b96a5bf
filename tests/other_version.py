"""Another version of the code, in an interpreter of its own: it declares a measure less, or one more."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from streaming import contract
from streaming.counting import Counter
from streaming.sums import rows_of
from streaming.table import open_writers

ROOT = Path(__file__).parent.parent
OLDER = 'MEASURES = tuple(each for each in MEASURES if each.name != "gpu_crashes")'
"""The version that does not know `gpu_crashes` yet."""
NEWER = 'MEASURES = (MEASURES[0], Measure("rdd_crashes", "RDD crashes", "main", _SUBPROCESS, "rdd"), *MEASURES[1:])'
"""The version that counts `rdd_crashes` too."""
_BEGIN = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.find_spec("streaming.contract")
module = importlib.util.module_from_spec(spec)
text = Path(spec.origin).read_text()
assert text.count("MEASURE_NAMES = ") == 1
sys.modules[spec.name] = module
exec(text.replace("MEASURE_NAMES = ", {change!r} + "\\nMEASURE_NAMES = "), module.__dict__)
import streaming
streaming.contract = module
from tests.other_version import append
from streaming.maintain import maintain
from datetime import datetime, UTC
"""


def run(change: str, code: str) -> None:
    """Runs code as another version would; it may call `append` and `maintain`."""
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN.format(change=change) + code],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def append(dataset: str, app: str, batches: list[list[bytes]], first: int = 0) -> list[bool]:
    """Appends micro-batches of pings as a job does; whether each was appended now."""
    writers = open_writers(dataset)
    appended = []
    for number, documents in enumerate(batches, first):
        counter = Counter()
        for document in documents:
            counter.add(document, 0)
        sums = pa.Table.from_batches([counter.partial_sums()])
        up_to = max(sums["newest_submission"].drop_null().to_pylist(), default=None)
        for writer in writers:
            newest = up_to if writer.table is contract.ERROR_AGGREGATES else None
            appended.append(writer.append(rows_of(writer.table, sums), number, app, newest))
    return appended
