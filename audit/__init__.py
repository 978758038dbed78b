"""From one YAML file to a model audit that a regulator can read, check and recompute."""

__version__ = "0.1.0"
