"""Where things are kept: folders and buckets, S3's settings, writes that survive a power cut, retries."""
