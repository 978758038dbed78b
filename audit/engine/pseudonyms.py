"""Names of people in a bundle: their ids, or keyed hashes of them, which only the holder of the key can trace."""

import hmac
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audit.core.errors import DataError, SpecError
from audit.core.expression import ExpressionError, parse
from audit.core.labels import label_of
from audit.core.table import Table
from audit.engine.files import Steps, said
from audit.spec.load import Loaded

SHORTEST = 32
"""Bytes of a key: a shorter one could be found by trying, from the fingerprint that the bundle records."""

LONGEST = 4096
DIGITS = 16
"""Hexadecimal digits of a pseudonym, 64 bits: among a million ids two are alike once in 37 million audits, and that is
refused."""

MADE = "make one with `openssl rand -hex 32`, and keep it apart from spec and bundle"


@dataclass(frozen=True)
class PseudonymKey:
    """The secret under which ids are hashed with HMAC-SHA-256; it is written nowhere."""

    secret: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart, and tells nothing else of them."""
        return self._digest("fingerprint", "")[:DIGITS]

    def pseudonym(self, name: str) -> str:
        """The pseudonym of an id: the same for the same key in whatever audit, so that audits can be compared."""
        return "P-" + self._digest("id", name)[:DIGITS].upper()

    def _digest(self, what: str, text: str) -> str:
        return hmac.digest(self.secret, f"audit {what}\0{text}".encode(), "sha256").hex()


def read_key(file: Path | None, variable: str | None) -> PseudonymKey | None:
    """The key in a file, or in an environment variable; None where neither is named.

    Raises:
        SpecError: both are named, the one that is cannot be read, or what it holds is too short for a key.
    """
    if file is not None and variable is not None:
        raise SpecError("--pseudonym-key-file and --pseudonym-key-env: name one of them")
    if file is not None:
        where = f"--pseudonym-key-file {file.name}"
        try:
            with file.open("rb") as opened:
                secret = opened.read(LONGEST + 1).strip()
        except OSError as error:
            raise SpecError(f"{where}: cannot be read: {error.strerror}") from error
    elif variable is not None:
        where = f"--pseudonym-key-env {variable}"
        if variable not in os.environ:
            raise SpecError(f"{where}: there is no such environment variable")
        secret = os.environb[os.fsencode(variable)].strip()
    else:
        return None
    if not SHORTEST <= len(secret) <= LONGEST:
        raise SpecError(f"{where}: holds {len(secret)} bytes; a key has {SHORTEST} to {LONGEST}; {MADE}")
    return PseudonymKey(secret)


@dataclass(frozen=True)
class Naming:
    """How rows are named in the bundle.

    Attributes:
        key: None where ids stay as they are.
    """

    loaded: Loaded
    key: PseudonymKey | None

    @property
    def record(self) -> dict[str, Any] | None:
        """What the bundle says of its pseudonyms."""
        if self.key is None:
            return None
        return {"hash": "HMAC-SHA-256", "bits": 4 * DIGITS, "fingerprint": self.key.fingerprint}

    def content(self, digest: str) -> str:
        """The digest of the data, with what names its rows: under another key all is computed anew."""
        return digest if self.key is None else f"{digest}:{self.key.fingerprint}"

    def rows(self, table: Table) -> Table:
        """The rows under the names that the bundle gives them.

        Raises:
            DataError: two ids have one pseudonym.
        """
        if self.key is None:
            return table
        given = {name: self.key.pseudonym(name) for name in dict.fromkeys(table.ids)}
        if len(set(given.values())) < len(given):
            raise DataError(said(self.loaded, STEPS, "two ids have one pseudonym under this key; use another key"))
        ids, extra, column = tuple(given[name] for name in table.ids), table.extra, self.loaded.spec.data.id
        if column is not None and column in extra.columns:
            extra = extra.assign(**{column: list(ids)})
        return replace(table, ids=ids, extra=extra)


STEPS: Steps = ("data", "pseudonymise")


def naming(loaded: Loaded, key: PseudonymKey | None, features: Collection[str], ids: Sequence[str]) -> Naming:
    """How the rows of an audit are named, as its spec asks.

    Args:
        features: what the model is given.
        ids: the ids of the evaluation rows, as the data have them.

    Raises:
        SpecError: the spec asks for pseudonyms and there is no key, or the reverse; or ids would reach the bundle by
            another way: as a feature, or in the text of the spec.
    """
    data = loaded.spec.data
    if not data.pseudonymise:
        if key is not None:
            text = "a key for pseudonyms was given, and the spec does not ask for any; add `pseudonymise: true`"
            raise SpecError(said(loaded, ("data",), text))
        return Naming(loaded, None)
    if key is None:
        text = f"needs a key: name it with --pseudonym-key-file FILE or --pseudonym-key-env NAME; {MADE}"
        raise SpecError(said(loaded, STEPS, text))
    if data.images is not None:
        text = "pictures are named by their files, which this version does not rename; rename them, and leave it out"
        raise SpecError(said(loaded, STEPS, text))
    if data.id is None:
        raise SpecError(said(loaded, STEPS, "there are no ids; name their column under `data.id`, or leave it out"))
    seen = [*features, *data.protected, *([data.target.column] if data.target else [])]
    if data.id in seen:
        text = f"column {data.id!r} is more than an id here: its values would reach the bundle; take it out"
        raise SpecError(said(loaded, STEPS, text))
    _check_regions(loaded, key, frozenset(ids))
    return Naming(loaded, key)


def _check_regions(loaded: Loaded, key: PseudonymKey, ids: Collection[str]) -> None:
    """Refuses ids in the spec, which goes into the bundle word for word.

    Raises:
        SpecError: a region names an id; the message has its pseudonym.
    """
    problems = []
    for number, region in enumerate(loaded.spec.regions):
        if region.around is not None and label_of(region.around) in ids:
            name = label_of(region.around)
            text = (
                f"{name!r} is an id of the data, and the bundle holds the spec word for word; write the pseudonym "
                f"{key.pseudonym(name)}"
            )
            problems.append(said(loaded, ("regions", number, "around"), text))
        if region.where is not None and loaded.spec.data.id in _names(region.where):
            text = "asks for ids, and the bundle holds the spec word for word; use `around` with a pseudonym"
            problems.append(said(loaded, ("regions", number, "where"), text))
    if problems:
        raise SpecError(problems)


def _names(condition: str) -> frozenset[str]:
    """The columns that a condition asks for; a wrong one is refused where it is used."""
    try:
        return frozenset(parse(condition).names)
    except ExpressionError:
        return frozenset()
