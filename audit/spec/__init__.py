"""YAML to Spec, with errors that name file and line; Spec to Plan."""
