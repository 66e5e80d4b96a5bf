"""The job: reads micro-batches of a source, sums them, appends them to the dataset; backfill beside it."""
