"""Loading the dataset: the checked request, its SQL, and the resulting rows as a frame."""
