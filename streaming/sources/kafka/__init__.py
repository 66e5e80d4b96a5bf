"""A Kafka topic as a source of pings."""
