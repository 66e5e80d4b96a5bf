"""From pings to sums: counters, partial sums, duplicates, what tasks spill."""
