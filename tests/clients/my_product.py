"""A program with glean-sdk: python my_product.py URL DATA_DIR VERSION BUILD_ID SESSIONS"""

import sys
from datetime import timedelta
from pathlib import Path

from glean import Configuration, Glean, load_metrics, load_pings

url, data, version, build_id, sessions = sys.argv[1:]
here = Path(__file__).parent
pings, metrics = load_pings(here / "pings.yaml"), load_metrics(here / "metrics.yaml")
Glean.initialize(
    application_id="my-product",
    application_version=version,
    application_build_id=build_id,
    upload_enabled=True,
    data_dir=Path(data),
    configuration=Configuration(server_endpoint=url, channel="release", allow_multiprocessing=False),
)
for number in range(int(sessions)):
    metrics.session.length.set_raw_nanos(timedelta(hours=1) // timedelta(microseconds=1) * 1000)
    metrics.documents.failed_saves.add(number % 2)
    metrics.documents.slow_opens.add(3)
    pings.session.submit()
Glean.shutdown()
