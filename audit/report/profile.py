"""For whom a report is: whole for its owner, or to hand out; and what names a row in it."""

from collections.abc import Mapping
from typing import Any

from audit.report import text
from audit.report.source import Source


def profile(source: Source) -> str:
    """Whether this is the whole report, or one to hand out, and what that lacks."""
    shared = source.facts("shared")
    if not shared:
        return "whole: rows, cases and sheets of single people are in the bundle; for its owner"
    return (
        f"shared, made from the report {shared['of']}. Left out: rows, ids, scores, cases, sheets and pictures of "
        f"single people ({text.count(shared['tables'])} tables and {text.count(shared['files'])} files), the ranges of "
        f"features, and the numbers of groups and regions of fewer than {text.count(shared['min_n'])} "
        f"({text.count(shared['numbers'])} numbers or lines). Sections that rest on what was left out are shorter."
    )


def named(given: Mapping[str, Any]) -> str:
    """What names a row, and whether it is a pseudonym."""
    name, hashed = text.plain(given.get("id") or "the row number"), given.get("pseudonyms")
    if not isinstance(hashed, Mapping):
        return name
    return f"{name}, replaced by pseudonyms ({hashed['hash']}, {hashed['bits']} bits, key {hashed['fingerprint']})"
