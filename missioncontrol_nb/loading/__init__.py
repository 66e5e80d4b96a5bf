"""Loading the dataset: what is asked for, the SQL that it becomes, rows as a frame."""
