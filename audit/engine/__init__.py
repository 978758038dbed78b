"""The shell around the pure core: reads files, runs the plan, writes the bundle."""
