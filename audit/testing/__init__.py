"""Toys, strategies and the conformance suite, for our tests and for people who write plug-ins.

A plug-in is checked by one line in its own tests: `check_method(MyMethod)`, `check_generator(MySearch)` or
`check_adapter(MyAdapter(...), source, frame)`. What is wrong is raised as an
AssertionError that says what was expected.
"""

from audit.testing.conformance import (
    check_adapter,
    check_generator,
    check_image_adapter,
    check_method,
    conformance_inputs,
    search_set,
)
from audit.testing.strategies import Stumps, conditions, draw_codes, feature_rules, schemas
from audit.testing.toy_images import ToyImageModel, random_image_inputs, toy_image_inputs, toy_images
from audit.testing.toys import ToyModel, toy_context, toy_inputs, toy_linear, toy_network, toy_table

__all__ = [
    "Stumps",
    "ToyImageModel",
    "ToyModel",
    "check_adapter",
    "check_generator",
    "check_image_adapter",
    "check_method",
    "conditions",
    "conformance_inputs",
    "draw_codes",
    "feature_rules",
    "random_image_inputs",
    "schemas",
    "search_set",
    "toy_context",
    "toy_image_inputs",
    "toy_images",
    "toy_inputs",
    "toy_linear",
    "toy_network",
    "toy_table",
]
