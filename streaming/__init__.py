"""Pings in, grouped dataset out."""
