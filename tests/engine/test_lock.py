"""A lock holds spec, files, versions, plug-ins and audit itself; a frozen run refuses anything else and says what."""

import json

import credit_case
import pytest

from audit.bundle import Bundle
from audit.core.errors import SpecError
from audit.core.model import Allow
from audit.engine import inventory
from audit.engine.load import load_inputs
from audit.engine.lock import changes, hold_inputs, hold_spec, lock_path, locked, read_lock, write_lock
from audit.engine.run import Options, run
from audit.spec.load import load_spec

SPEC = credit_case.SPEC | {
    "counterfactuals": {},
    "methods": [{"kind": "performance"}],
    "report": {"formats": ["html"], "opinion": {"word": "qualified", "by": "A", "text": "opinion.md"}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A spec with its files, and its lock as text."""
    spec = credit_case.make(tmp_path_factory.mktemp("locked"), n=60, spec=SPEC)
    (spec.parent / "opinion.md").write_text("With care.\n")
    loaded = load_spec(spec)
    return spec, write_lock(locked(loaded, load_inputs(loaded, Allow())))


@pytest.fixture
def here(made, tmp_path):
    """A copy that may be changed, locked; and the folder."""
    import shutil

    spec, lock = made
    folder = shutil.copytree(spec.parent, tmp_path / "case")
    (folder / "spec.lock").write_bytes(lock)
    return folder


def refused(folder, *overrides):
    with pytest.raises(SpecError) as error:
        hold_spec(load_spec(folder / "spec.yaml", overrides))
    assert error.value.exit_code == 2
    return error.value.problems


def test_what_is_locked_is_let_through_and_its_digest_is_given(here, made):
    from hashlib import sha256

    assert hold_spec(load_spec(here / "spec.yaml")) == sha256(made[1]).hexdigest()


def test_the_lock_names_every_file_of_the_spec(made):
    lock = json.loads(made[1])
    assert sorted(lock["files"]) == ["holdout.csv", "model.skops", "opinion.md", "train.csv"]
    assert {"auditspec", "numpy", "scikit-learn", "weasyprint", "joblib"} <= set(lock["packages"])
    assert lock["plugins"] == {}


@pytest.mark.parametrize("name", ["train.csv", "holdout.csv", "model.skops", "opinion.md"])
def test_another_file_is_refused_and_named(here, name):
    with (here / name).open("ab") as file:
        file.write(b"\n")
    (line,) = refused(here)
    assert line.startswith(f"spec.lock: {name}: locked ")
    assert ", found " in line
    assert "put the locked file back" in line
    assert "`audit lock spec.yaml`" in line


def test_a_file_that_is_gone_is_refused(here):
    (here / "train.csv").unlink()
    assert "train.csv: locked " in refused(here)[0]
    assert "found no such file" in refused(here)[0]


def test_another_spec_and_what_is_set_beside_it_are_refused(here):
    (line,) = refused(here, "run.seed=9")
    assert "what is set beside the spec: locked nothing, found --set run.seed=9" in line
    path = here / "spec.yaml"
    path.write_text(path.read_text() + "# more\n")
    (line,) = refused(here)
    assert line.startswith("spec.lock: spec.yaml: locked ")


def edited(folder, change):
    path = folder / "spec.lock"
    lock = json.loads(path.read_bytes())
    change(lock)
    path.write_text(json.dumps(lock))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lock: lock["packages"].update(numpy="1.0"), "numpy: locked 1.0, found "),
        (
            lambda lock: lock["packages"].update(nothing_of_this_name="1"),
            "nothing_of_this_name: locked 1, found not in",
        ),
        (lambda lock: lock.update(python="3.9.1"), "python: locked 3.9.1, found "),
        (lambda lock: lock.update(audit="9.9"), "audit: locked 9.9, found "),
        (lambda lock: lock.update(code="0" * 64), "audit: locked 000000000000…, found "),
        (
            lambda lock: lock["plugins"].update(mine={"version": "1", "sha256": "0" * 64}),
            "plug-in mine: locked 1 (000000000000…), found not there",
        ),
    ],
)
def test_other_versions_plug_ins_and_code_are_refused_each_with_a_remedy(here, change, said):
    edited(here, change)
    (line,) = refused(here)
    assert line.startswith(f"spec.lock: {said}")
    assert "if the change is meant, run `audit lock spec.yaml`" in line


def test_all_differences_are_said_at_once(here):
    (here / "train.csv").unlink()
    edited(here, lambda lock: lock["packages"].update(numpy="1.0"))
    assert len(refused(here)) == 2


def test_no_lock_and_no_lock_of_this_form_say_what_to_do(here):
    (here / "spec.lock").write_text("{}")
    assert "spec.lock: is no lock of this version" in refused(here)[0]
    (here / "spec.lock").unlink()
    assert refused(here) == ("--frozen: there is no spec.lock beside spec.yaml; make it with `audit lock spec.yaml`",)


def test_data_that_are_read_otherwise_are_refused(here):
    loaded = load_spec(here / "spec.yaml")
    loading = load_inputs(loaded, Allow())
    hold_inputs(loaded, loading)
    loading.contents["model"] = "1" * 64
    with pytest.raises(SpecError, match=r"spec\.lock: model, as it is read: locked "):
        hold_inputs(loaded, loading)


def test_a_frozen_run_records_the_lock_and_a_run_that_is_not_frozen_none(here, tmp_path):
    spec = here / "spec.yaml"
    frozen = run(spec, tmp_path / "frozen", Options(frozen=True))
    assert Bundle(frozen.out).manifest().lock == read_lock(load_spec(spec))[1]
    (here / "train.csv").write_text("id\n1\n")
    with pytest.raises(SpecError, match=r"train\.csv: locked"):
        run(spec, tmp_path / "again", Options(frozen=True))
    assert not (tmp_path / "again").exists()


def test_the_commands_lock_and_refuse(here):
    spec = here / "spec.yaml"
    edited(here, lambda lock: lock["packages"].update(numpy="1.0"))
    for words in (("run", spec, "-o", here / "out", "--frozen"), ("validate", spec, "--frozen")):
        done = credit_case.command(*words)
        assert (done.returncode, done.stderr.startswith("spec.lock: numpy: locked 1.0")) == (2, True), done.stderr
    done = credit_case.command("lock", spec)
    assert done.returncode == 0, done.stderr
    assert "changed: numpy: 1.0 → " in done.stdout
    assert credit_case.command("validate", spec, "--frozen").returncode == 0


def test_a_new_lock_says_what_changed(made):
    from audit.engine.lock import Lock

    old = Lock.model_validate_json(made[1])
    new = old.model_copy(update={"files": old.files | {"train.csv": "1" * 64, "more.csv": "2" * 64}, "python": "3.99"})
    assert list(changes(old, old)) == []
    assert list(changes(old, new)) == [
        "more.csv: nothing → 222222222222…",
        f"train.csv: {old.files['train.csv'][:12]}… → 111111111111…",
        f"python: {old.python} → 3.99",
    ]


def test_a_folder_is_locked_where_a_spec_names_one_and_a_word_that_is_one_is_not(here):
    from dataclasses import replace

    loaded = load_spec(here / "spec.yaml")
    for name in ("pictures", "credit-case", "good"):
        (here / name).mkdir()
        (here / name / "a.txt").write_text("a")
    data = {**loaded.data, "data": {**loaded.data["data"], "evaluate": "pictures"}}
    found = inventory.files_of(replace(loaded, data=data))
    assert "pictures" in found
    assert not {"credit-case", "good"} & set(found)
    before = found["pictures"]
    (here / "pictures" / "a.txt").rename(here / "pictures" / "b.txt")
    assert inventory.files_of(replace(loaded, data=data))["pictures"] != before


def test_a_plug_in_is_locked_by_the_digest_of_its_code(tmp_path, monkeypatch):
    package = tmp_path / "some_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    name, before = inventory._plugin("some_plugin")
    (package / "inner.py").write_text("B = 2\n")
    assert name == "some_plugin"
    assert inventory._plugin("some_plugin")[1].sha256 != before.sha256


def test_the_lock_lies_beside_the_spec(made):
    assert lock_path(load_spec(made[0])).name == "spec.lock"
