"""The receiver: the HTTP edge that clients post their pings to, which keeps them in files or in a Kafka topic."""
