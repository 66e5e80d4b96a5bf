"""The pages' own HTML: each function takes a summary of the monitor and a query, and returns escaped HTML."""
