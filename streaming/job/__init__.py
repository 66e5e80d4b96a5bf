"""The job, which reads micro-batches of a source, sums them and appends them to the dataset; and the backfill."""
