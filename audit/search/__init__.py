"""One counterfactual generator per file, and `verify`, which checks them all."""
