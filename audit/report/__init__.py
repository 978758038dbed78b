"""A bundle to HTML and PDF. Reads the bundle and nothing else."""
