"""A plug-in for `audit`: the method `base_rate`, the search `copycat`, the adapter `points`."""
