"""How a dataset is doing: how fresh, how far behind its source, what was rejected, how many files.

`collect` looks; `text`, `prometheus` and `page` say what it found to a person, to Prometheus and to a browser; `server`
keeps looking and answers probes. Spark is not needed for any of it.
"""

from missioncontrol_nb.status.collect import STALE_AFTER_SECONDS, Collector, Lag, Status, TableState

__all__ = ["STALE_AFTER_SECONDS", "Collector", "Lag", "Status", "TableState"]
