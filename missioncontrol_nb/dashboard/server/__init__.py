"""The server of the dashboard: Voilà, its limits, the pool of kernels, admission."""
