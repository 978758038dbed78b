"""Saliency partition as a method: pools, statuses, named parts, and its steps beside a search written apart."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from audit.core.images import ImageScorer, NamedParts
from audit.core.mending import Mending
from audit.core.method import Context
from audit.methods.saliency_partition import SaliencyPartition
from audit.testing.toy_images import ToyImageModel, toy_image_inputs


def noisy(seed):
    """Sixty noisy pictures of 4 x 4 cells; class k has a bright k-th number in each, a quarter is labelled wrong."""
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % 3
    pixels = rng.random((60, 1, 8, 8), dtype=np.float32)
    for k in range(3):
        pixels[labels == k, 0, k // 2 :: 2, k % 2 :: 2] += 0.3
    model = ToyImageModel(np.eye(3, 4) * 8 + rng.normal(size=(3, 4)), ("a", "b", "c"))
    true = np.where(rng.random(60) < 0.25, rng.integers(0, 3, 60), labels)
    return toy_image_inputs(model, pixels, [model.classes[i] for i in true])


def ran(inputs, part_rows=1000, **settings):
    method = SaliencyPartition(**settings)
    context = Context(inputs=inputs, rng=np.random.default_rng(0))
    return method.merge(inputs, [method.run(context, part) for part in method.parts(inputs, part_rows)])


def cells(pixels):
    """The four numbers of each of the 16 cells of a picture (1, 8, 8), shape (16, 4)."""
    return np.array([pixels[0, i : i + 2, j : j + 2].ravel() for i in range(0, 8, 2) for j in range(0, 8, 2)])


def logits(own, model):
    return own.mean(axis=0) @ model.weight.T


def soft(z):
    power = np.exp(z - z.max())
    return power / power.sum()


def kept_at(cell):
    """What a dip around a cell of 4 x 4 keeps of each, from its formula."""
    row, column = divmod(cell, 4)
    return np.array([1 - np.exp(-((i // 4 - row) ** 2 + (i % 4 - column) ** 2) / (2 * 0.8**2)) for i in range(16)])


def steps_by_hand(own, pool, wrong, target, model, m):
    """Paper mode as it is described, one head at a time: [(cell, candidate)]; pool: (candidates, 4)."""
    original, own, steps, used = own.copy(), own.copy(), [], set()
    while logits(own, model).argmax() != target and len(steps) < 16:
        lost = [soft(logits(own, model))[wrong] - soft(logits(own * kept_at(i)[:, None], model))[wrong]
                for i in range(16)]  # fmt: skip
        cell = max((i for i in range(16) if i not in {c for c, _ in steps}), key=lambda i: lost[i])
        unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)
        alike = unit @ (original[cell] / np.linalg.norm(original[cell]))
        open_ones = sorted((i for i in range(len(pool)) if i not in used), key=lambda i: -alike[i])[:m]
        loss = {}
        for i in open_ones:
            edited = own.copy()
            edited[cell] = pool[i]
            loss[i] = 1 - alike[i] - np.log(soft(logits(edited, model))[target])
        best = min(open_ones, key=lambda i: loss[i])
        own[cell] = pool[best]
        used.add(best)
        steps.append((cell, best))
    return steps


def test_the_steps_are_those_of_the_description_done_one_by_one():
    inputs = noisy(3)
    found = ran(inputs, mending=Mending(m=5), max_refs=3)
    images, edits = found.tables["saliency_images"], found.tables["saliency_edits"]
    pictures = inputs.images.evaluate
    place = {instance: i for i, instance in enumerate(pictures.ids)}
    model, labels = inputs.images.model.model, inputs.evaluate.extra["label"]
    pixels = pictures.read(np.arange(60)).astype(np.float64)
    read = np.array([logits(cells(p), model).argmax() for p in pixels])
    assert len(images) >= 5
    for row in images.itertuples():
        target, wrong = (model.classes.index(name) for name in (row.true, row.predicted))
        rows = np.flatnonzero(labels == row.true)
        rows = rows[np.random.default_rng([0, target]).permutation(len(rows))]
        rows = [r for r in rows if read[r] == target and pictures.ids[r] != row.instance][:3]
        pool = np.concatenate([cells(pixels[r]) for r in rows])
        expected = steps_by_hand(cells(pixels[place[row.instance]]), pool, wrong, target, model, 5)
        own = edits[edits["instance"] == row.instance]
        told = [
            (s.row * 4 + s.column, rows.index(place[s.reference]) * 16 + s.reference_row * 4 + s.reference_column)
            for s in own.itertuples()
        ]
        assert told == expected, row.instance
        assert row.status == ("converged" if len(expected) < 16 else row.status)


def test_a_picture_is_never_its_own_reference_and_no_reference_is_twice_in_a_pool():
    """Every picture of class b is the same, and so is the misread one: nothing is left to swap in."""
    model = ToyImageModel(np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]), ("a", "b"))
    like_b = np.zeros((1, 8, 8), dtype=np.float32)
    like_b[0, ::2, 1::2] = 1.0
    like_a = np.zeros((1, 8, 8), dtype=np.float32)
    like_a[0, ::2, ::2] = 1.0
    other_b = like_b * 0.5
    pixels = np.stack([like_a, like_a, like_b, like_b, other_b])
    alone = ran(toy_image_inputs(model, pixels, ["b", "a", "b", "b", "b"]))
    (row,) = alone.tables["saliency_images"].itertuples()
    assert (row.instance, row.references, row.status) == ("picture 0", 2, "converged")
    read_as_b = np.stack([like_b, like_b, like_a])
    without = ran(toy_image_inputs(model, read_as_b, ["a", "b", "a"], (np.stack([like_b]), ["a"])))
    assert without.tables["saliency_images"]["status"].tolist() == ["no_reference"]
    twin = ran(
        toy_image_inputs(model, np.stack([like_a, like_b]), ["b", "b"], (np.stack([like_a, like_b]), ["b", "b"]))
    )
    (row,) = twin.tables["saliency_images"].itertuples()
    assert set(twin.tables["saliency_edits"]["reference"]) == {"picture 1"}
    assert row.references == 1


def test_part_size_and_order_make_no_difference():
    inputs = noisy(1)
    whole, pieces = ran(inputs), ran(inputs, part_rows=2)
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(table, pieces.tables[name])
    assert whole.metrics == pieces.metrics


def test_instances_are_the_ids_of_the_audit_whatever_the_files_are_called():
    inputs = noisy(1)
    ids = tuple(f"case {i}" for i in range(60))
    named = replace(inputs, evaluate=replace(inputs.evaluate, ids=ids))
    named = replace(named, sample=replace(inputs.sample, table=named.evaluate))
    found = ran(named, few=1)
    assert found.tables["saliency_images"]["instance"].str.startswith("case ").all()
    whole = found.tables["saliency_frequency"]
    assert (whole.loc[whole["region"].isna() & whole["true"].isna(), "n"] > 0).all()


def halves(inputs, known=lambda row: True):
    """The same audit with the upper half of each picture called `sky`, where something is known of it."""
    labels = np.repeat([[1], [0]], 4, axis=0) * np.ones((1, 8), dtype=np.int64)
    named = NamedParts(("sky",), lambda row: labels if known(row) else None)
    return replace(inputs, images=replace(inputs.images, evaluate=replace(inputs.images.evaluate, parts=named)))


def test_parts_are_counted_from_the_swaps():
    plain = noisy(1)
    regions = pd.DataFrame({"region": "all", "instance": list(plain.evaluate.ids), "distance": 0.0, "weight": 1.0})
    inputs = replace(halves(plain), regions=regions)
    found, before = ran(inputs, few=1), ran(plain, few=1)
    edits, images = found.tables["saliency_edits"], found.tables["saliency_images"]
    pd.testing.assert_frame_equal(edits.drop(columns="part"), before.tables["saliency_edits"])
    assert (edits["part"] == np.where(edits["row"] < 2, "sky", "rest of the picture")).all()
    table = found.tables["saliency_part_frequency"]
    groups = {(None, None, None): images, ("all", None, None): images}
    groups |= {(None, *key): group for key, group in images.groupby(["true", "predicted"])}
    for (region, true, predicted), group in groups.items():
        mended = group.loc[group["status"] == "converged", "instance"]
        own = table[[(r, t, p) == (region, true, predicted) for r, t, p in zip(
            table["region"], table["true"], table["predicted"], strict=True)]]  # fmt: skip
        if not len(mended):
            assert not len(own)
            continue
        for name, chosen in (("sky", edits["row"] < 2), ("rest of the picture", edits["row"] >= 2)):
            hit = mended.isin(edits.loc[chosen, "instance"])
            (line,) = own[own["part"] == name].itertuples()
            assert line.frequency == pytest.approx(hit.mean())
            assert (line.n, line.coverage) == (len(mended), len(mended) / len(group))
            assert line.share_of_cells == 0.5
    metrics = [m for m in found.metrics if m.name == "part_frequency"]
    assert len(metrics) == len(table)
    assert {m.where.region for m in metrics} == {None, "all"}


def test_pictures_of_which_no_part_is_known_do_not_count():
    inputs = halves(noisy(1), known=lambda row: False)
    found = ran(inputs)
    assert "saliency_part_frequency" not in found.tables
    assert len(found.tables["saliency_parts"]) == 0
    some = ran(halves(noisy(1), known=lambda row: row % 2 == 0), few=1).tables
    known = some["saliency_images"]["instance"].str.split().str[1].astype(int) % 2 == 0
    mended = (some["saliency_images"]["status"] == "converged") & known
    table = some["saliency_part_frequency"]
    assert (table.loc[table["region"].isna() & table["true"].isna(), "n"] == mended.sum()).all()
    assert 0 < mended.sum() < len(known)


def codes(found):
    return {note.code: note for note in found.notes}


def test_what_happens_at_the_edges_is_said():
    inputs = noisy(1)
    plain = codes(ran(inputs))
    assert not {"swaps_limited", "empty_candidates", "disagrees"} & set(plain)
    limited = codes(ran(inputs, mending=Mending(max_iter=2)))["swaps_limited"]
    assert limited.args == {"most": 2, "cells": 16}


def test_reference_cells_of_zeros_are_counted_and_left_out():
    """Class b: a bright second number in each cell but the first, which is black."""
    model = ToyImageModel(np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]), ("a", "b"))
    like_b = np.zeros((1, 8, 8), dtype=np.float32)
    like_b[0, ::2, 1::2] = 1.0
    like_b[0, :2, :2] = 0.0
    misread = np.zeros((1, 8, 8), dtype=np.float32)
    misread[0, ::2, ::2], misread[0, ::2, 1::2] = 1.0, 0.25
    found = ran(toy_image_inputs(model, np.stack([misread, like_b]), ["b", "b"]), mending=Mending(m=16))
    edits = found.tables["saliency_edits"]
    assert found.tables["saliency_images"]["empty_candidates"].tolist() == [1]
    assert not ((edits["reference_row"] == 0) & (edits["reference_column"] == 0)).any()
    assert codes(found)["empty_candidates"].args == {"count": 1, "most": 1}


class Wobbling(ToyImageModel):
    """A head that depends on how many maps it is given, as no head should."""

    def head(self, maps):
        return super().head(maps) + (np.float32(1e-2) if len(maps) == 1 and self.late else np.float32(0))

    late = False


def test_a_head_that_disagrees_with_the_closed_form_is_reported_by_the_size_of_the_gap():
    inputs = noisy(1)
    first = inputs.images.model.model
    model = Wobbling(first.weight, first.classes)
    scorer = replace(inputs.images, model=ImageScorer(model, 16))
    method, context = SaliencyPartition(), Context(inputs=replace(inputs, images=scorer), rng=np.random.default_rng(0))
    (part,) = method.parts(inputs, 1000)
    probed = method._probed(context, np.arange(3))

    def late(*_):
        object.__setattr__(model, "late", True)
        return probed

    object.__setattr__(method, "_probed", late)
    found = method.merge(inputs, [method.run(context, part)])
    note = codes(found)["disagrees"]
    assert note.args["gap"] == pytest.approx(1e-2, rel=1e-2)
    assert note.args["count"] == len(found.tables["saliency_images"])
