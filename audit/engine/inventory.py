"""What there is around an audit: the files that its spec names, the packages it needs, and the code of all of them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256 as new_sha256
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from audit.core.base import Frozen, canonical_json, sha256
from audit.core.method import GENERATORS, METHODS
from audit.core.model import ADAPTERS
from audit.engine.files import file_sha256
from audit.engine.load import Loading
from audit.resources import folder
from audit.spec.compile import compile_plan
from audit.spec.load import Loaded

FOLDERS = (("data", "train"), ("data", "evaluate"), ("report",))
"""Where a spec may name folders; elsewhere a word that happens to be one is only a word."""

MISSING = "not installed"


class Plugin(Frozen):
    """A package from outside that the spec uses, with the digest of its code."""

    version: str
    sha256: str


def files_of(loaded: Loaded) -> dict[str, str]:
    """Digests of the files that any text of the spec names, and of the folders that may be named."""
    found: dict[str, str] = {}
    for steps, name in _texts(loaded.data):
        if steps[:1] == ("audit",) or not name or len(name) > 500 or "\0" in name or "\n" in name:
            continue
        path = loaded.file(name)
        try:
            if path.is_file():
                found[name] = file_sha256(path)
            elif path.is_dir() and any(steps[: len(inside)] == inside for inside in FOLDERS):
                found[name] = _folder_sha256(path, path.rglob("*"))
        except OSError:
            continue  # a text that no file system takes for a path
    return found


def _texts(value: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text in plain data, with its path."""
    if isinstance(value, str):
        yield steps, value
    elif isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _texts(inside, (*steps, str(key)))
    elif isinstance(value, list):
        for i, inside in enumerate(value):
            yield from _texts(inside, (*steps, i))


def _folder_sha256(root: Path, paths: Iterable[Path]) -> str:
    """One digest over the names and contents of files below a folder."""
    listed = {path.relative_to(root).as_posix(): file_sha256(path) for path in paths if path.is_file()}
    return sha256(canonical_json(listed))


def own_code() -> str:
    """The digest of the code and the templates of audit, the same from a wheel and from a working copy."""
    home = Path(__file__).resolve().parent.parent
    apart = {"templates", "specs", "examples"}
    code = [path for path in home.rglob("*.py") if path.relative_to(home).parts[0] not in apart]
    templates = folder("templates")
    digest = new_sha256(_folder_sha256(home, code).encode("ascii"))
    digest.update(_folder_sha256(templates, templates.rglob("*")).encode("ascii"))
    return digest.hexdigest()


def uses(loaded: Loaded, loading: Loading) -> set[str]:
    """The libraries that the numbers of this spec depend on."""
    plan = compile_plan(loaded.spec, loading.contents, installed_version)
    return {name for task in plan.tasks for name in task.uses}


def plugins_of(loaded: Loaded) -> dict[str, Plugin]:
    """Packages from outside with a class that the spec uses."""
    spec = loaded.spec
    classes: list[type[Any]] = [METHODS.classes()[work.kind] for work in (*spec.methods, *spec.remedies)]
    classes += [GENERATORS.classes()[search.search] for search in spec.counterfactuals.values()]
    classes.append(ADAPTERS.classes()[spec.model.kind])
    tops = {cls.__module__.partition(".")[0] for cls in classes} - {"audit"}
    return dict(sorted(_plugin(top) for top in tops))


def _plugin(top: str) -> tuple[str, Plugin]:
    """The distribution that a module comes from, with the digest of the code of the module or package."""
    names = packages_distributions().get(top, [top])
    found = find_spec(top)
    places = list(found.submodule_search_locations or ()) if found else []
    if places:
        digest = sha256("".join(_folder_sha256(Path(p), sorted(Path(p).rglob("*.py"))) for p in places).encode("ascii"))
    else:
        digest = file_sha256(Path(found.origin)) if found and found.origin else ""
    return names[0], Plugin(version=installed_version(names[0]), sha256=digest)


def closure(names: Iterable[str]) -> dict[str, str]:
    """Versions of packages and of all installed ones that these need, extras apart."""
    found: dict[str, str] = {}
    queue = sorted(names)
    while queue:
        name = _plain(queue.pop())
        if name in found or installed_version(name) == MISSING:
            continue
        found[name] = installed_version(name)
        for need in _installed(name).requires or ():
            if "extra ==" not in need:
                queue.append(re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0])
    return dict(sorted(found.items()))


def _installed(name: str) -> Any:
    """The distribution of a name; `xgboost-cpu` stands in for `xgboost`."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return distribution(f"{name}-cpu")


def installed_version(name: str) -> str:
    """The version of an installed distribution, or `not installed`."""
    try:
        return str(_installed(name).version)
    except PackageNotFoundError:
        return MISSING


def _plain(name: str) -> str:
    """The name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
