"""Where pings come from: files and topics, cut into micro-batches."""
