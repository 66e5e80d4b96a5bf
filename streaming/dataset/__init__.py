"""The dataset: opening, writing and maintaining its tables of grouped counts."""
