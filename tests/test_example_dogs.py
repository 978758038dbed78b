"""The example for people who have the pictures, run on a few of them."""

import json
from pathlib import Path

import numpy as np
from dogs_case import BREEDS, QUERIES
from example_case import ROOT, Audited


def test_the_example_names_each_breed_once() -> None:
    text = (ROOT / "examples/dogs/README.md").read_text(encoding="utf-8")
    script = (ROOT / "examples/dogs/make_model.py").read_text(encoding="utf-8")
    assert len(set(BREEDS)) == 10
    assert all(f'"{breed}": ' in script and f"{breed} " in text for breed in BREEDS)


def test_a_few_dogs(dogs: Audited) -> None:
    assert dogs.init.returncode == 0
    assert dogs.run.returncode == 0, dogs.run.stdout + dogs.run.stderr
    found = json.loads((dogs.out / "results.json").read_text(encoding="utf-8"))
    values = {(r["id"], m["name"]): m["value"] for r in found["evidence"] for m in r["metrics"]}
    wrong = misread(dogs.folder)
    assert 0 < wrong < QUERIES * len(BREEDS) / 2
    assert values["saliency_partition", "misread"] == wrong
    assert "data:image/jpeg;base64," in (dogs.out / "report.html").read_text(encoding="utf-8")


def misread(folder: Path) -> int:
    """How many queries the file misreads, prepared by Pillow and asked by onnxruntime alone."""
    import onnxruntime
    from PIL import Image

    session = onnxruntime.InferenceSession(folder / "model.onnx")
    wrong = 0
    for number, breed in enumerate(BREEDS):
        for path in sorted((folder / "pictures/queries" / breed).iterdir()):
            with Image.open(path) as file:
                picture = file.convert("RGB")
            scale = 256 / min(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.BICUBIC)
            left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
            pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), dtype=np.float32)
            _, logits = session.run(None, {"pictures": ((pixels - 127) / 128).transpose(2, 0, 1)[None]})
            wrong += int(logits[0].argmax()) != number
    return wrong
