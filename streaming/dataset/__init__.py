"""The dataset: tables of grouped counts, how they are opened, written and maintained."""
