"""Aggregates pings into a grouped dataset."""
