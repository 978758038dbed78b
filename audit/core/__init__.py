"""Values and arithmetic. No files, no clock, no network, no randomness but what is passed in."""
