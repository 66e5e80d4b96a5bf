"""Another version of the code, in an interpreter of its own: a copy of the package in which declarations differ."""

import atexit
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa

from streaming import contract
from streaming.aggregation.counter import Counter
from streaming.aggregation.partial_sums import rows_of
from streaming.dataset.stored_products import TABLE
from streaming.dataset.writer import open_writers

ROOT = Path(__file__).parent.parent
MEASURES, DIMENSIONS = "streaming/contract/measures.py", "streaming/contract/dimensions.py"
_NAMES = "MEASURE_NAMES = tuple("  # the line behind the declarations
OLDER = 'MEASURES = tuple(each for each in MEASURES if each.name != "gpu_crashes")'
"""The version that does not know `gpu_crashes` yet."""
NEWER = (
    'MEASURES = (MEASURES[0], Measure("extension_crashes", "Extension crashes", '
    '(count_histogram(_SUBPROCESS_CRASHES, "extension"),)), '
    "*MEASURES[1:])"
)
"""The version that counts `extension_crashes` too."""
WITH_LOCALE = (
    'DIMENSIONS = (*DIMENSIONS, Dimension("locale", "Language", (ERROR,), '
    '{"telemetry/main": "/environment/settings/locale"}, missing="??"))'
)
"""The version that tells languages apart."""
_BEGIN = """
from datetime import datetime, UTC
from tests.other_version import append
from streaming.dataset.maintenance import maintain
"""


def copy_with(folder: Path, files: Mapping[str, str]) -> Path:
    """A copy of the checkout in a folder, with other text in some files of `streaming`, by their paths in it."""
    shutil.copytree(ROOT / "streaming", folder / "streaming", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("missioncontrol_nb", "notebooks", "tests"):
        (folder / name).symlink_to(ROOT / name)
    for path, text in files.items():
        (folder / path).write_text(text)
    return folder


@cache
def _version(change: str) -> Path:
    """A copy in which a statement stands behind the declarations of measures, or of dimensions."""
    folder = Path(tempfile.mkdtemp(prefix="mc-other-version-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if change.startswith("DIMENSIONS"):
        return copy_with(folder, {DIMENSIONS: f"{(ROOT / DIMENSIONS).read_text()}\n{change}\n"})
    text = (ROOT / MEASURES).read_text()
    assert text.count(_NAMES) == 1
    return copy_with(folder, {MEASURES: text.replace(_NAMES, f"{change}\n{_NAMES}")})


def run(change: str, code: str) -> None:
    """Runs code as another version would; it may call `append` and `maintain`."""
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + code], cwd=_version(change), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def append(
    dataset: str, app: str, batches: list[list[bytes]], first: int = 0, products: Sequence[contract.Product] = ()
) -> list[bool]:
    """Appends micro-batches of pings as a job does; whether each was appended now. products: declared ones."""
    writers = open_writers(dataset)
    known = next(each for each in writers if each.table is TABLE).declare_products(products)
    appended = []
    for number, documents in enumerate(batches, first):
        counter = Counter(products=known)
        for document in documents:
            counter.add(document, 0)
        sums = pa.Table.from_batches([counter.partial_sums()])
        up_to = max(sums["newest_submission"].drop_null().to_pylist(), default=None)
        for writer in writers:
            newest = up_to if writer.table is contract.ERROR_AGGREGATES else None
            appended.append(writer.append(rows_of(writer.table, sums), number, app, newest))
    return appended
