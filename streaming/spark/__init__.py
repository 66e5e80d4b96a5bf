"""Spark itself: Java, sessions, clusters, what its processes start with."""
