"""Sources of pings: files and topics, divided into micro-batches."""
