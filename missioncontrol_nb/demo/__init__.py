"""A demo of Mission Control on one machine: a simulated fleet, the Spark job, the dashboard, an orderly shutdown."""
