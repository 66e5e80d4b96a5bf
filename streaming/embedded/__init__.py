"""Runs a stream's micro-batches in processes of this machine, without Spark."""
