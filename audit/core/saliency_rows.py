"""One misread picture: mended, mapped, and written down as rows of tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.images import softmax
from audit.core.mending import Mended, Mending, alive, contribution, cosines, mend
from audit.core.model import Ints
from audit.core.saliency import AGREE, Batched, Closed, Logits, Probe, State, cells_of, contributions, exact_values
from audit.core.saliency_layer import Layered
from audit.core.saliency_maps import compactness, insertion_deletion, invariant_and_dominant, parts, positive
from audit.core.saliency_parts import part_cells, part_names, part_rows, part_shares
from audit.core.table import Floats

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Pool:
    """The look-alikes that may be swapped in: cells of correctly read pictures of one class.

    Attributes:
        ids: the reference pictures.
        cells: shape (references P, d), picture by picture.
        parts: what each adds to the logits, shape (references P, C), where the head is linear.
        digests: of the reference pictures, by which a picture is known not to be its own reference.
    """

    ids: tuple[str, ...]
    cells: NDArray[np.float32]
    parts: Floats | None
    digests: tuple[str, ...] = ()

    @classmethod
    def of(cls, ids: tuple[str, ...], maps: NDArray[np.float32], found: Probe, digests: tuple[str, ...] = ()) -> "Pool":
        """The pool of these pictures, whose feature maps have shape (references, d, h, w)."""
        count = maps.shape[2] * maps.shape[3]
        cells = cells_of(maps).reshape(-1, maps.shape[1])
        return cls(ids, cells, contributions(cells, found, count) if found.linear else None, digests)


@dataclass(frozen=True)
class Picture:
    """A misread picture.

    Attributes:
        map: its feature map, shape (d, h, w).
        wrong, target: numbers of the class that it was given and of its true class.
    """

    instance: str
    map: NDArray[np.float32]
    wrong: int
    target: int
    classes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in cells."""
        return int(self.map.shape[1]), int(self.map.shape[2])

    def state(self, pool: Pool, found: Probe, head: Logits) -> State:
        """The map, ready to be edited."""
        cells = cells_of(self.map[None])[0]
        if found.linear and pool.parts is not None:
            return Closed(cells, pool.parts, found)
        if found.layer is not None:
            return Layered(cells, pool.cells, found.layer)
        return Batched(cells, pool.cells, self.size, head)


@dataclass(frozen=True)
class Account:
    """What is written down of a picture: one row, and rows of its edits, cells, curves and named parts."""

    image: dict[str, Any]
    edits: Rows
    cells: Rows
    areas: Rows
    parts: Rows

    def by_part(self, labels: Ints, names: Sequence[str], size: tuple[int, int]) -> "Account":
        """The same with its swaps told by named part as well; `labels` is the label map of the picture."""
        member = part_cells(part_shares(labels, size, len(names)))
        words = part_names(member, names)
        edits = [{**row, "part": words[row["row"] * size[1] + row["column"]]} for row in self.edits]
        edited = [row["row"] * size[1] + row["column"] for row in self.edits]
        return replace(self, edits=edits, parts=part_rows(self.image["instance"], member, names, edited))


def account(
    picture: Picture, pool: Pool, found: Probe, head: Logits, keep: Floats, settings: Mending, rng: np.random.Generator
) -> Account:
    """Mends a picture and writes down how; the head itself is asked once more at the end."""
    state = picture.state(pool, found, head)
    start = state.logits()
    areas = _areas(picture, state, found, keep, settings, rng)
    likeness = cosines(cells_of(picture.map[None])[0], pool.cells)
    mended = mend(state, likeness, keep, picture.wrong, picture.target, settings, rng)
    truth = _asked_again(picture, pool, mended, head)
    image = {**_image(picture, pool, mended, start, truth), "empty_candidates": int((~alive(likeness)).sum())}
    return Account(image, _edits(picture, pool, mended), _cells(picture, mended, settings), areas, [])


def _asked_again(picture: Picture, pool: Pool, mended: Mended, head: Logits) -> Floats:
    """The logits of the real head on the edited map, shape (C,)."""
    edited = picture.map.copy()
    for edit in mended.edits:
        row, column = divmod(edit.cell, picture.size[1])
        edited[:, row, column] = pool.cells[edit.candidate]
    return np.asarray(head(edited[None])[0])


def _image(picture: Picture, pool: Pool, mended: Mended, start: Floats, truth: Floats) -> dict[str, Any]:
    """The row of a picture; it is mended when the real head says so."""
    before, after = softmax(start[None])[0], softmax(truth[None])[0]
    cosine = [edit.cosine for edit in mended.edits]
    count = picture.size[0] * picture.size[1]
    return {
        "instance": picture.instance,
        "true": picture.classes[picture.target],
        "predicted": picture.classes[picture.wrong],
        "status": "converged" if int(truth.argmax()) == picture.target else "not_converged",
        "edits": len(mended.edits),
        "edited_share": len(mended.edits) / count,
        "undone": mended.undone,
        "cosine": float(np.mean(cosine)) if cosine else None,
        "references": len(pool.ids),
        "p_class_before": float(before[picture.wrong]),
        "p_target_before": float(before[picture.target]),
        "p_class_after": float(after[picture.wrong]),
        "p_target_after": float(after[picture.target]),
        "margin_after": _lead(truth, picture.target),
        "drop": float((before[picture.wrong] - after[picture.wrong]) / before[picture.wrong]),
        "compactness": compactness(mended.before),
        "gap": float(np.abs(truth - mended.logits).max()),
        "agrees": bool(np.abs(truth - mended.logits).max() <= AGREE * max(1.0, float(np.abs(truth).max()))),
    }


def _lead(z: Floats, target: int) -> float:
    return float(z[target] - np.delete(z, target).max())


def _edits(picture: Picture, pool: Pool, mended: Mended) -> Rows:
    count = picture.size[0] * picture.size[1]
    rows: Rows = []
    for step, edit in enumerate(mended.edits):
        reference, cell = divmod(edit.candidate, count)
        rows.append(
            {
                "instance": picture.instance,
                "step": step + 1,
                "row": edit.cell // picture.size[1],
                "column": edit.cell % picture.size[1],
                "reference": pool.ids[reference],
                "reference_row": cell // picture.size[1],
                "reference_column": cell % picture.size[1],
                "cosine": edit.cosine,
                "p_class": edit.p_class,
                "p_target": edit.p_target,
                "margin": edit.margin,
            }
        )
    return rows


def _cells(picture: Picture, mended: Mended, settings: Mending) -> Rows:
    invariant, dominant = invariant_and_dominant(mended.before, mended.after)
    part = parts(mended.before, picture.size, settings.sigma)
    edited = {edit.cell for edit in mended.edits}
    objects = positive(mended.before)
    return [
        {
            "instance": picture.instance,
            "row": i // picture.size[1],
            "column": i % picture.size[1],
            "before": float(mended.before[i]),
            "after": float(mended.after[i]),
            "object": float(objects[i]),
            "part": int(part[i]),
            "invariant": float(invariant[i]),
            "dominant": float(dominant[i]),
            "edited": i in edited,
        }
        for i in range(len(part))
    ]


def _areas(
    picture: Picture, state: State, found: Probe, keep: Floats, settings: Mending, rng: np.random.Generator
) -> Rows:
    """Insertion and deletion over cells: for the contributions in use, CAM where the head is linear, and chance."""
    used = contribution(state, keep, settings, picture.wrong, picture.target, rng)
    maps: dict[str, Floats] = {settings.contribution: used}
    if isinstance(state, Closed):
        maps["cam"] = exact_values(state.parts, "logit", picture.wrong, picture.target)
    maps["random"] = rng.random(len(keep))
    rows: Rows = []
    for name, values in maps.items():
        order = np.argsort(-values, kind="stable")
        insertion, deletion = insertion_deletion(state, order, picture.wrong, picture.target)
        for score, i in (("p_class", 0), ("lead", 1)):
            rows.append(
                {
                    "instance": picture.instance,
                    "map": name,
                    "score": score,
                    "insertion": float(insertion[i]),
                    "deletion": float(deletion[i]),
                }
            )
    return rows
