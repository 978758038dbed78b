"""The worked audit of pictures: what its tables say of misread digits, done again with torch and numpy alone."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from example_case import Audited
from test_examples import results, table

torch = pytest.importorskip("torch", reason="torch is an optional package")


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
