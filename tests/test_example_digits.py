"""The worked audit of pictures: what its tables say of misread digits, done again with torch and numpy alone."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from example_case import Audited
from test_examples import results, table

torch = pytest.importorskip("torch", reason="torch is an optional package")


ROUNDING = 1e-6
"""Equal cells, black ones above all, are equal up to float32; any of them may be the one that is taken."""


def network(audited: Audited) -> tuple[Any, Any]:
    """Features and head as README and spec describe them, filled with the weights of the file."""
    from safetensors.torch import load_file
    from torch import nn

    layers: list[Any] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    features, last = nn.Sequential(*layers[:-1]), nn.Linear(64, 10)
    weights = load_file(audited.folder / "model.safetensors")
    features.load_state_dict({k.removeprefix("features."): v for k, v in weights.items() if k.startswith("features.")})
    last.load_state_dict({k.rpartition(".")[2]: v for k, v in weights.items() if k.startswith("head.")})
    return features.eval(), lambda maps: last(maps.mean(dim=(2, 3)))


def maps_of(audited: Audited, part: str) -> tuple[Any, np.ndarray]:
    """Feature maps (n, 64, 7, 7) and true digits of a file of pictures."""
    content = np.load(audited.folder / f"{part}.npz")
    with torch.no_grad():
        maps = network(audited)[0](torch.from_numpy(content["images"].astype(np.float32) / 255)[:, None])
    return maps, content["labels"]


@pytest.fixture(scope="module")
def held_out(digits: Audited) -> tuple[Any, np.ndarray, np.ndarray]:
    """Feature maps, true digits and read digits of the evaluation pictures."""
    maps, labels = maps_of(digits, "evaluate")
    with torch.no_grad():
        return maps, labels, network(digits)[1](maps).argmax(dim=1).numpy()


def images_of(digits: Audited) -> pd.DataFrame:
    return table(digits, "saliency_partition", "saliency_images")


def test_the_misread_digits_are_those_of_torch(digits: Audited, held_out: tuple[Any, np.ndarray, np.ndarray]) -> None:
    _, labels, read = held_out
    images = images_of(digits)
    assert sorted(map(int, images["instance"])) == np.flatnonzero(labels != read).tolist()
    (accuracy,) = (
        m["value"]
        for record in results(digits)["evidence"]
        for m in record["metrics"]
        if record["id"] == "performance" and m["name"] == "accuracy" and not m["where"]["region"]
    )  # fmt: skip
    assert accuracy == pytest.approx((labels == read).mean())


def test_the_swaps_of_a_mended_digit_mend_it(digits: Audited, held_out: tuple[Any, np.ndarray, np.ndarray]) -> None:
    maps, labels, _ = held_out
    references, reference_labels = maps_of(digits, "train")
    edits = table(digits, "saliency_partition", "saliency_edits")
    _, head = network(digits)
    mended = 0
    for row in images_of(digits).itertuples():
        own = maps[int(row.instance)].clone()
        for edit in edits[edits["instance"] == row.instance].itertuples():
            assert reference_labels[int(edit.reference)] == labels[int(row.instance)]
            own[:, edit.row, edit.column] = references[int(edit.reference)][
                :, edit.reference_row, edit.reference_column
            ]
        with torch.no_grad():
            wins = int(head(own[None]).argmax()) == labels[int(row.instance)]
        assert wins == (row.status == "converged")
        mended += wins
    (rate,) = (
        m["value"]
        for record in results(digits)["evidence"]
        for m in record["metrics"]
        if record["id"] == "saliency_partition" and m["name"] == "flip_rate"
    )
    assert rate == pytest.approx(mended / len(images_of(digits)))


def test_the_step_log_is_that_of_the_description_with_every_map_made(
    digits: Audited, held_out: tuple[Any, np.ndarray, np.ndarray]
) -> None:
    """Dips of the probability, the 10 most alike of 20 references, 1 - cosine - log p: each asked of torch's head."""
    maps, labels, read = held_out
    references, reference_labels = maps_of(digits, "train")
    edits = table(digits, "saliency_partition", "saliency_edits")
    _, head = network(digits)
    place = np.stack(np.divmod(np.arange(49), 7), axis=1)
    square = ((place[:, None] - place[None]) ** 2).sum(axis=2)
    keep = torch.from_numpy((1 - np.exp(-square / (2 * 0.8**2))).astype(np.float32)).reshape(49, 1, 7, 7)
    with torch.no_grad():
        right = head(references).argmax(dim=1).numpy() == reference_labels
        for instance in images_of(digits)["instance"].head(5):
            row = int(instance)
            target, wrong = int(labels[row]), int(read[row])
            rows = np.flatnonzero(reference_labels == target)
            rows = rows[np.random.default_rng([0, target]).permutation(len(rows))]
            rows = rows[right[rows]][:20]
            pool = references[rows].permute(0, 2, 3, 1).reshape(-1, 64)
            own = maps[row].clone()
            alike = torch.nn.functional.normalize(own.reshape(64, 49).T, dim=1) @ torch.nn.functional.normalize(pool).T
            alike[:, ~alike.any(dim=0)] = -1.0  # cells of zeros
            free = np.ones(49, dtype=bool)
            for step in edits[edits["instance"] == instance].itertuples():
                p = head(own[None]).softmax(1)[0]
                assert int(p.argmax()) != target
                lost = np.where(free, (p[wrong] - head(own * keep).softmax(1)[:, wrong]).numpy(), -np.inf)
                cell = step.row * 7 + step.column
                assert lost[cell] >= lost.max() - ROUNDING, (instance, step.step)
                (reference,) = np.flatnonzero(rows == int(step.reference))
                best = int(reference) * 49 + step.reference_row * 7 + step.reference_column
                nearest = torch.cat([alike[cell].topk(10).indices, torch.tensor([best])])
                assert alike[cell, best] >= alike[cell, nearest[9]] - ROUNDING, (instance, step.step)
                made = own.repeat(11, 1, 1, 1)
                made[:, :, cell // 7, cell % 7] = pool[nearest]
                loss = 1 - alike[cell, nearest] - head(made).log_softmax(1)[:, target]
                assert loss[10] <= loss.min() + 10 * ROUNDING, (instance, step.step)
                likeness = float(alike[cell, best])
                own[:, step.row, step.column] = pool[best]
                free[cell], alike[:, best] = False, -1.0
                after = head(own[None]).softmax(1)[0]
                assert (step.p_class, step.p_target) == pytest.approx(
                    (float(after[wrong]), float(after[target])), abs=1e-4
                )
                assert step.cosine == pytest.approx(likeness, abs=1e-4)


def test_named_parts_are_counted_from_the_cells_of_the_swaps(digits: Audited) -> None:
    """Rows 2 and 3 of the inner 5 columns are the upper third, row 4 the waist, rows 5 and 6 the lower third."""
    edits = table(digits, "saliency_partition", "saliency_edits")
    inner = edits["column"].between(1, 5)
    names = {"upper third": (1, 2), "waist": (3, 3), "lower third": (4, 5)}
    expected = pd.Series("rest of the picture", index=edits.index)
    for name, (first, last) in names.items():
        expected[inner & edits["row"].between(first, last)] = name
    assert (edits["part"] == expected).all()
    told = table(digits, "saliency_partition", "saliency_part_frequency")
    whole = told[told["region"].isna() & told["true"].isna()].set_index("part")
    images = images_of(digits)
    mended = images.loc[images["status"] == "converged", "instance"]
    for name in (*names, "rest of the picture"):
        share = mended.isin(edits.loc[expected == name, "instance"]).mean()
        assert whole.loc[name, "frequency"] == pytest.approx(share)
    assert whole["share_of_cells"].round(9).tolist() == [round(c / 49, 9) for c in (10, 5, 10, 24)]


def test_the_region_is_that_of_its_condition(digits: Audited, held_out: tuple[Any, np.ndarray, np.ndarray]) -> None:
    regions = table(digits, "sample", "regions")
    assert sorted(map(int, regions["instance"])) == np.flatnonzero(held_out[1] == 8).tolist()
    maps = table(digits, "saliency_partition", "saliency_frequency")
    misread = images_of(digits)
    (n,) = set(maps.loc[maps["region"] == "eights", "n"])
    assert n == ((misread["true"] == "8") & (misread["status"] == "converged")).sum()


def test_every_kept_picture_is_in_the_html_and_each_has_its_text(digits: Audited) -> None:
    page = (digits.out / "report.html").read_text(encoding="utf-8")
    figures = re.findall(r"<title[^>]*>(Picture [^<]*)</title>", page)
    assert len(figures) == 12
    for figure, row in zip(figures, images_of(digits).head(12).itertuples(), strict=True):
        assert figure.startswith(f"Picture {row.instance}. True class {row.true}, read as {row.predicted}. ")
        assert len(re.findall(r"Step \d+: row", figure)) == row.edits
    assert page.count("<image ") >= 24
    assert "http" not in re.sub(r'<svg xmlns="http://www.w3.org/2000/svg"', "", " ".join(re.findall("<svg.*?>", page)))
    assert len(page) < 2_000_000


def test_it_takes_no_minute(digits: Audited) -> None:
    assert digits.seconds < 60
