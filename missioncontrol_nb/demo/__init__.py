"""A demo of Mission Control on one machine: a simulated fleet, the job, the dashboard, an orderly shutdown."""
