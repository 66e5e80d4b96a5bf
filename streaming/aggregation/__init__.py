"""Summation of pings: counters, partial sums, deduplication, and rows that tasks write to files."""
