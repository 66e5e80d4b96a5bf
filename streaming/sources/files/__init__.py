"""Files as a source of pings."""
