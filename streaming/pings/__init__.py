"""A ping: bytes in, a record or the reason of its rejection out."""
