"""A report cut into parts that are laid out one after the other, so that no more than one is in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

PART = 6000
"""Elements of one part, about forty pages of tables; a part ends at the end of a portion or section."""

MOST_PARTS = 4
"""A section heavier than so many parts is cut itself, between two of its blocks."""


@dataclass(frozen=True)
class Part:
    """A document of its own: the head of the report, and a stretch of its body."""

    tree: Any
    front: bool = False


def parts(root: Any, size: int = PART) -> Iterator[Part]:
    """The front (all but `main`) first, then stretches of `main`; their order is that of the report.

    Each stretch begins on a new page. A report without `main` is all front.
    """
    body = root.find("body")
    main = None if body is None else body.find("main")
    if main is None:
        yield Part(root, front=True)
        return
    body.remove(main)
    yield Part(root, front=True)
    given = dict(next((item.attrib for item in body.iter() if "data-report" in item.attrib), {}))
    strings = {key: value for key, value in given.items() if key.startswith("data-")}
    for stretch in _stretches(main, size):
        yield Part(_document(root, strings, main, stretch))


Kept = tuple[Any, ...]
"""An element with those that it stands in, the outermost first."""


def _stretches(main: Any, size: int) -> Iterator[list[Kept]]:
    """Runs of elements whose weights come to the size, cut where the report turns the page anyway, if it does."""
    run: list[Kept] = []
    weight = 0
    for portion in main:
        whole = _weight(portion)
        if run and weight + whole > size:
            yield run
            run, weight = [], 0
        if whole <= size:
            run.append((portion,))
            weight += whole
            continue
        for kept in _pieces(portion, size):
            more = _weight(kept[-1])
            if run and weight + more > size:
                yield run
                run, weight = [], 0
            run.append(kept)
            weight += more
    if run:
        yield run


def _pieces(portion: Any, size: int) -> Iterator[Kept]:
    for section in portion:
        if _weight(section) <= MOST_PARTS * size:
            yield portion, section
        else:
            yield from ((portion, section, block) for block in section)


def _weight(element: Any) -> int:
    return sum(1 for _ in element.iter())


def _document(root: Any, strings: dict[str, str], main: Any, stretch: list[Kept]) -> Any:
    """The head of the report with the elements of one stretch inside copies of those that they stand in."""
    make: Callable[..., Any] = type(main)
    html, body = make(root.tag, dict(root.attrib)), make("body", strings)
    html.append(root.find("head"))
    html.append(body)
    inner = make(main.tag, dict(main.attrib))
    body.append(inner)
    open_: list[tuple[Any, Any]] = []
    for kept in stretch:
        *around, element = kept
        while open_ and [given for given, _ in open_] != around[: len(open_)]:
            open_.pop()
        for given in around[len(open_) :]:
            copy = make(given.tag, dict(given.attrib))
            if given.find("h2") not in (None, element):
                copy.set("data-section", " ".join("".join(given.find("h2").itertext()).split()))
            (open_[-1][1] if open_ else inner).append(copy)
            open_.append((given, copy))
        (open_[-1][1] if open_ else inner).append(element)
    return html
