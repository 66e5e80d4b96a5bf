"""Storage: folders and buckets, S3 settings, writes that survive a power cut, and retries."""
