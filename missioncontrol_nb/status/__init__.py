"""The status of a dataset: its freshness, its lag behind the source, rejected pings and the number of files."""

# `collect` reads the status. `wording`, `metrics` and `page` format it for people, Prometheus and browsers. `server`
# refreshes it repeatedly and answers probes. None of these modules needs Spark.

from missioncontrol_nb.status.collect import STALE_AFTER_SECONDS, Collector, Lag, Status, TableState

__all__ = ["STALE_AFTER_SECONDS", "Collector", "Lag", "Status", "TableState"]
