"""Saliency partition: which swaps of cells would mend the pictures that the model misreads."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from audit.core.choice import Choice, choices_table
from audit.core.evidence import Artefact, Result
from audit.core.images import Images
from audit.core.mending import Mending
from audit.core.method import Context, Inputs, Method, Need, Refusal
from audit.core.model import Ints, Pixels
from audit.core.plan import Part
from audit.core.saliency import Probe, dips, probe
from audit.core.saliency_layer import with_layer
from audit.core.saliency_parts import part_metrics, part_notes
from audit.core.saliency_rows import Account, Picture, Pool, Rows, account
from audit.core.saliency_summary import saliency_metrics, saliency_notes, saliency_tables
from audit.core.table import Floats, joined

PROBED = 8
"""Pictures that the head is probed with."""

RAW = ("saliency_images", "saliency_edits", "saliency_cells", "saliency_areas", "saliency_parts")
"""Tables with rows for single pictures."""

CHOICES = (
    Choice("SP-01", "payoff", "prob", "unpublished; of the logit the closed form is exact"),
    Choice("SP-02", "formula of a dip", "1 - exp(-distance^2 / (2 sigma^2))", "only sigma and the word are known"),
    Choice("SP-03", "contribution", "dip", "as published; the exact one is offered, and is nearer to Shapley values"),
    Choice("SP-04", "unlikeness, surprise, weights", "1 - cosine, -log p, 1 and 1", "only the names are known"),
    Choice("SP-05", "look-alikes considered (m)", "10", "the same m among more candidates is a stricter filter"),
    Choice("SP-06", "reference pictures", "20", "unpublished"),
    Choice("SP-07", "a look-alike may be used twice", "no", "unpublished; with 1 look-alike few pictures are mended"),
    Choice("SP-08", "contributions computed anew", "after every swap", "order matters after a swap"),
    Choice("SP-09", "what a cell is compared by", "the picture as it is", "keeps matches tied to the picture"),
    Choice("SP-10", "kept and dominant cells", "min, and positive part of the difference", "names only are known"),
    Choice("SP-11", "compactness", "area above half of the maximum", "formula and direction of xi are unknown"),
    Choice("SP-12", "insertion and deletion", "over cells, absent cells are zero", "the paper's protocol is unknown"),
    Choice("SP-13", "a picture that cannot be mended", "counted as a failure", "no fallback is published"),
    Choice("SP-14", "a class without references", "said so", "no silent fallback"),
    Choice("SP-15", "head", "probed", "linear after pooling is found out, not believed"),
)


class SaliencyPartition(Method):
    """For each misread picture of the sample, the cells that must be swapped for the true class to win.

    Cells of the feature map that carry the wrong class are replaced by look-alikes from pictures that the model reads
    rightly, one after the other. No picture is made: the counterfactual lives in the space of features.

    Attributes:
        mending: how cells are chosen and replaced.
        max_refs: reference pictures of a class, at most.
        shown: misread pictures that are kept as pictures for the report.
        few: confusions of fewer pictures get no row of their own.

    Assumes:
        A cell looks at a large part of the picture. A swap that mends shows what suffices for this model, not what
        caused the error in the world. The dip is no Shapley value.

    Tables:
        saliency_images, saliency_edits, saliency_cells, saliency_areas: what became of each picture, each swap, each
        cell, and the areas under insertion and deletion. saliency_pairs: confusions. saliency_frequency: how often each
        cell must change, over all, by confusion and by region. saliency_parts, saliency_part_frequency: the same by
        named part, where `data.images.parts` names any. saliency_status. choices.

    Reference:
        Zhang, Yin, Lee: Towards Fine-Grained Interpretability, arXiv 2511.07974, as publicly described.
    """

    kind: Literal["saliency_partition"] = "saliency_partition"
    mending: Mending = Mending()
    max_refs: int = Field(default=20, ge=1)
    shown: int = Field(default=12, ge=0)
    few: int = Field(default=5, ge=1)

    rev: ClassVar[int] = 2
    needs: ClassVar[frozenset[Need]] = frozenset({"images", "target"})
    cites: ClassVar[tuple[str, ...]] = (
        "Zhang, Yin, Lee: Towards Fine-Grained Interpretability, saliency partition, arXiv 2511.07974",
    )

    def parts(self, inputs: Inputs, part_rows: int) -> list[Part]:
        n = len(_misread(inputs))
        starts = range(0, max(n, 1), part_rows)
        return [Part(index=i, start=s, stop=min(s + part_rows, n)) for i, s in enumerate(starts)]

    def run(self, ctx: Context, part: Part) -> Result:
        """The pictures of a part.

        Raises:
            Refusal: the head does not read feature maps cell by cell, or `exact` contributions cannot be had.
        """
        misread = _misread(ctx.inputs)
        if not len(misread):
            return Result(tables=_empty())
        found, size = self._probed(ctx, misread)
        keep = dips(size, self.mending.sigma)
        told: list[Account] = []
        artefacts: dict[str, Artefact] = {}
        pools: dict[int, Pool | None] = {}
        for number in range(part.start, part.stop):
            row = int(ctx.sample.rows[misread[number]])
            told.append(self._one(ctx, row, pools, found, keep))
            if number < self.shown:
                artefacts |= _pictures(ctx, number, row, told[-1].edits)
            ctx.tick(number + 1 - part.start, part.stop - part.start)
        tables = {
            "saliency_images": pd.DataFrame([one.image for one in told]),
            "saliency_edits": pd.DataFrame([row for one in told for row in one.edits]),
            "saliency_cells": pd.DataFrame([row for one in told for row in one.cells]),
            "saliency_areas": pd.DataFrame([row for one in told for row in one.areas]),
            "saliency_parts": pd.DataFrame([row for one in told for row in one.parts]),
            "saliency_head": _head(found, size),
        }
        return Result(tables=tables, artefacts=artefacts)

    def _one(self, ctx: Context, row: int, pools: dict[int, Pool | None], found: Probe, keep: Floats) -> Account:
        """The account of the evaluation picture `row`; pools are made once for each class."""
        images, classes, inputs = ctx.images, ctx.inputs.decision.classes, ctx.inputs
        target = classes.index(inputs.evaluate.extra[inputs.target].iloc[row])
        wrong = int(inputs.scores[row].argmax())
        digest, instance = images.evaluate.digests[row], inputs.evaluate.ids[row]
        if target not in pools:
            pools[target] = self._pool(ctx, target, found)
        pool = pools[target]
        if pool is not None and digest in pool.digests:
            pool = self._pool(ctx, target, found, without=digest)
        if pool is None:
            image = {"instance": instance, "true": classes[target], "predicted": classes[wrong]}
            return Account({**image, "status": "no_reference", "edits": 0, "references": 0}, [], [], [], [])
        maps = images.model.features(images.evaluate.read(np.array([row])))
        picture = Picture(instance, maps[0], wrong, target, classes)
        told = account(picture, pool, found, images.model.logits, keep, self.mending, ctx.rng)
        named = images.evaluate.parts
        labels = None if named is None else named.labels(row)
        return told if named is None or labels is None else told.by_part(labels, named.names, picture.size)

    def merge(self, inputs: Inputs, partials: Sequence[Result]) -> Result:
        """All pictures together: shares, frequencies of cells, confusions."""
        if inputs.sample is None:
            raise ValueError("pictures are of a sample, and there is none")
        raw = {name: joined([partial.tables[name] for partial in partials if name in partial.tables]) for name in RAW}
        if not len(raw["saliency_images"]):
            message = "the model reads every picture of the sample rightly, so there is nothing to mend"
            return Result(status="not_applicable", message=message)
        head = next((p.tables["saliency_head"] for p in partials if "saliency_head" in p.tables), _head(None, (0, 0)))
        tables = {**raw, **saliency_tables(raw, inputs, self.few), "saliency_head": head}
        if inputs.images is None or inputs.images.evaluate.parts is None:
            del tables["saliency_parts"]
        by_part = tables.get("saliency_part_frequency", pd.DataFrame())
        metrics = (*saliency_metrics(raw, len(inputs.sample)), *part_metrics(by_part))
        artefacts = {name: artefact for partial in partials for name, artefact in partial.artefacts.items()}
        tables["choices"] = choices_table(CHOICES, self._chosen())
        return Result(
            metrics=metrics,
            tables=tables,
            artefacts=artefacts,
            notes=(*saliency_notes(raw, head, self.mending, metrics), *part_notes(by_part)),
        )

    def _probed(self, ctx: Context, misread: Ints) -> tuple[Probe, tuple[int, int]]:
        """What the head is, from the first misread pictures; the same in every part."""
        images = ctx.images
        maps = images.model.features(images.evaluate.read(ctx.sample.rows[misread[:PROBED]]))
        size = (int(maps.shape[2]), int(maps.shape[3]))
        if size == (1, 1):
            raise Refusal("unsupported features: the map has one cell, so there is nothing to swap; cut earlier")
        found = with_layer(probe(images.model.logits, maps, np.random.default_rng(0)), images.model, maps)
        if len(found.unread) > size[0] * size[1] / 2:
            raise Refusal(
                f"the head does not read {len(found.unread)} of {size[0] * size[1]} cells, as where a class token "
                "alone is read; cut before the last block, so that the cells still reach the head"
            )
        if self.mending.contribution == "exact" and (not found.linear or self.mending.payoff == "prob"):
            why = "the payoff is a probability" if found.linear else "the head is not linear after pooling"
            raise Refusal(
                f"exact contributions have a closed form for additive payoffs of a linear pooled head only, and {why}; "
                "use payoff logit or margin, or contribution permutation"
            )
        return found, size

    def _pool(self, ctx: Context, target: int, found: Probe, without: str = "") -> Pool | None:
        """Reference pictures of a class that the model reads rightly, in a drawn order that is always the same."""
        images = ctx.images
        source, labels = _references(ctx.inputs)
        rows = np.flatnonzero(labels == ctx.inputs.decision.classes[target])
        rows = rows[np.random.default_rng([0, target]).permutation(len(rows))]
        kept_rows: list[int] = []
        kept_maps: list[Pixels] = []
        seen = {without}
        for start in range(0, len(rows), source.batch):
            batch = rows[start : start + source.batch]
            batch = np.array([r for r in batch if source.digests[r] not in seen], dtype=np.int64)
            if not len(batch):
                continue
            maps = images.model.features(source.read(batch))
            right = images.model.logits(maps).argmax(axis=1) == target
            for row, own, ok in zip(batch, maps, right, strict=True):
                if ok and source.digests[row] not in seen and len(kept_rows) < self.max_refs:
                    seen.add(source.digests[row])
                    kept_rows.append(int(row))
                    kept_maps.append(own)
            if len(kept_rows) == self.max_refs:
                break
        if not kept_rows:
            return None
        ids, digests = (tuple(values[r] for r in kept_rows) for values in (source.ids, source.digests))
        return Pool.of(ids, np.stack(kept_maps), found, digests)

    def _chosen(self) -> dict[str, str]:
        mending = self.mending
        weights = f"{mending.lambda_sim:g} and {mending.lambda_cls:g}"
        return {
            "SP-01": mending.payoff,
            "SP-03": mending.contribution + ("" if mending.selection == "paper" else ", joint selection"),
            "SP-04": f"1 - cosine, -log p, {weights}",
            "SP-05": f"{mending.m:g}",
            "SP-06": str(self.max_refs),
            "SP-07": "yes" if mending.reuse_candidates else "no",
        }


def _actual(inputs: Inputs) -> Ints:
    """The number of the true class of each evaluation row, shape (n,)."""
    labels = inputs.evaluate.extra[inputs.target]
    return np.asarray(labels.map({label: i for i, label in enumerate(inputs.decision.classes)}), dtype=np.int64)


def _misread(inputs: Inputs) -> Ints:
    """Positions in the sample of the pictures whose most probable class is not the true one."""
    if inputs.sample is None:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(inputs.sample.scores.argmax(axis=1) != _actual(inputs)[inputs.sample.rows])


def _references(inputs: Inputs) -> tuple[Images, "pd.Series[str]"]:
    """The pictures that references come from, and their true classes: training pictures where there are any."""
    if inputs.images is None:
        raise ValueError("the audit is not of images")
    if inputs.images.train is not None and inputs.train is not None:
        return inputs.images.train, inputs.train.extra[inputs.target].reset_index(drop=True)
    return inputs.images.evaluate, inputs.evaluate.extra[inputs.target].reset_index(drop=True)


def _pictures(ctx: Context, number: int, row: int, edits: Rows) -> dict[str, Artefact]:
    """The picture, and each reference that a cell was taken from, in the order of first use, as PNG files."""
    source = _references(ctx.inputs)[0]
    files = {f"picture_{number}": _png(ctx.images.evaluate.picture(row))}
    for order, instance in enumerate(dict.fromkeys(str(edit["reference"]) for edit in edits)):
        files[f"reference_{number}_{order}"] = _png(source.picture(source.ids.index(instance)))
    return files


def _png(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Artefact:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=False)
    return Artefact(buffer.getvalue(), "image/png")


def _head(found: Probe | None, size: tuple[int, int]) -> pd.DataFrame:
    """What the head was found to be, as a table of one row."""
    return pd.DataFrame(
        {
            "cells_high": [size[0]],
            "cells_wide": [size[1]],
            "linear_after_pooling": [found is not None and found.linear],
            "unread_cells": [len(found.unread) if found is not None else 0],
            "gap": [found.gap if found is not None else 0.0],
        }
    )


def _empty() -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame() for name in RAW}
