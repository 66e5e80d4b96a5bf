"""Building blocks of pages: HTML and small drawings."""
