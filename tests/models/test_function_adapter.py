"""A Python function as a model: never imported unless allowed, and its answers checked."""

import sys

import numpy as np
import pandas as pd
import pytest

from audit.core.base import sha256
from audit.core.errors import ModelError
from audit.core.model import Allow, Source
from audit.models.function import FunctionAdapter

CODE = """
from pathlib import Path
Path(__file__).with_name("was_imported").write_text("x")
constant = 3
def rising(frame):
    return frame["x"]
def three(frame):
    import numpy as np
    return np.column_stack([frame["x"], 0 * frame["x"], 1 - frame["x"]])
def wrong_sum(frame):
    import numpy as np
    return np.column_stack([frame["x"], frame["x"]])
def wrong_shape(frame):
    return [[1.0, 0.0]]
"""


@pytest.fixture
def module(tmp_path, request, monkeypatch):
    """A module beside the spec, under a name of its own."""
    name = "scores_" + sha256(request.node.name.encode())[:8]
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path, name


def load(folder, function, *, code=True, **fields):
    source = Source(None, str(folder), Allow(code=code), pd.DataFrame(), ("yes",))
    return FunctionAdapter(function=function, **{"classes": ("no", "yes"), **fields}).load(source)


FRAME = pd.DataFrame({"x": [0.25, 1.0]})


def test_code_is_not_imported_unless_allowed(module):
    folder, name = module
    with pytest.raises(ModelError, match="--allow-code"):
        load(folder, f"{name}:rising", code=False)
    assert not (folder / "was_imported").exists()
    assert str(folder) not in sys.path
    load(folder, f"{name}:rising")
    assert (folder / "was_imported").exists()


def test_one_number_is_the_probability_of_the_second_class(module):
    folder, name = module
    model = load(folder, f"{name}:rising", classes=(False, True))
    assert model.classes == ("false", "true")
    assert model.capabilities == {"predict"}
    np.testing.assert_array_equal(model.predict(FRAME), [[0.75, 0.25], [0, 1]])
    assert model.digest == sha256(CODE.encode())


def test_one_column_per_class(module):
    folder, name = module
    model = load(folder, f"{name}:three", classes=("a", "b", "c"))
    np.testing.assert_array_equal(model.predict(FRAME), [[0.25, 0, 0.75], [1, 0, 0]])


@pytest.mark.parametrize(
    ("function", "classes", "message"),
    [
        ("wrong_sum", ("no", "yes"), "2 of 2 rows with probabilities that do not sum to 1"),
        ("wrong_shape", ("no", "yes"), r"shape \(1, 2\); expected \(2, 2\) or \(2,\)"),
        ("rising", ("a", "b", "c"), r"expected \(2, 3\), one column"),
    ],
)
def test_answers_that_are_no_probabilities_of_the_classes_are_refused(module, function, classes, message):
    folder, name = module
    model = load(folder, f"{name}:{function}", classes=classes)
    with pytest.raises(ModelError, match=message):
        model.predict(FRAME)


def test_what_is_not_there_is_said(module):
    folder, name = module
    with pytest.raises(ModelError, match="no module 'nowhere_at_all'"):
        load(folder, "nowhere_at_all:f")
    with pytest.raises(ModelError, match=r"nowhere_at_all\.inner cannot be found"):
        load(folder, "nowhere_at_all.inner:f")
    with pytest.raises(ModelError, match=r"has no 'risinng'; it has .*rising"):
        load(folder, f"{name}:risinng")
    with pytest.raises(ModelError, match="is a int, not a function"):
        load(folder, f"{name}:constant")
    with pytest.raises(ModelError, match="two classes share a name"):
        load(folder, f"{name}:rising", classes=(1, "1"))
    with pytest.raises(ValueError, match="function"):
        FunctionAdapter(function="no colon", classes=("a", "b"))


def test_a_module_that_fails_is_an_error_of_the_model(module):
    folder, name = module
    (folder / f"{name}_broken.py").write_text("1 / 0")
    with pytest.raises(ModelError, match="cannot be imported: ZeroDivisionError"):
        load(folder, f"{name}_broken:f")


def test_another_digest_is_refused_before_the_import(module):
    folder, name = module
    with pytest.raises(ModelError, match="0000"):
        load(folder, f"{name}:rising", sha256="0" * 64)
    assert not (folder / "was_imported").exists()
    assert load(folder, f"{name}:rising", sha256=sha256(CODE.encode())).digest == sha256(CODE.encode())


def test_nothing_installed_is_shadowed_by_the_folder_of_the_spec(module):
    folder, name = module
    before = list(sys.path)
    load(folder, f"{name}:rising")
    assert sys.path == [*before, str(folder)]
