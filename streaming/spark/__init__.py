"""Spark itself: its Java, sessions and clusters, and the environment of its processes."""
