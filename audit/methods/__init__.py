"""One method per file. A file dropped here appears in the spec, in `audit list` and in the report."""
