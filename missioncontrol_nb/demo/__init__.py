"""The whole of Mission Control on one machine: a simulated fleet, the Spark job, the dashboard, and an orderly end."""
