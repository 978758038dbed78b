"""One model adapter per file."""
