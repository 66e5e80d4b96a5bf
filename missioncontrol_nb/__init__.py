"""Mission Control for data scientists."""
