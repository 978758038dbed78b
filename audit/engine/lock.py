"""What an audit is locked to: spec, every file that it names, plug-ins, package versions, Python, audit itself."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from audit import __version__
from audit.bundle import pretty_json
from audit.core.base import Frozen, sha256
from audit.core.errors import SpecError
from audit.engine.inventory import Plugin, closure, files_of, installed_version, own_code, plugins_of, uses
from audit.engine.load import Loading
from audit.engine.provenance import package_versions
from audit.spec.load import Loaded

SHORT = 12


class Lock(Frozen):
    """All that a frozen run is held to.

    Attributes:
        spec, sha256: the name of the spec and its digest.
        overrides: `--set key=value` as given.
        files: digests of the files and folders that the spec names, by their names there.
        model, data: digests of what the tasks read, with the settings of how it is read.
        code: the digest of audit's own code and templates; two working copies can bear one version.
        plugins: packages from outside with a method, search or model that the spec uses.
        packages: versions of all packages that numbers or pages can depend on, and of what these need.
    """

    format: int = 1
    spec: str
    sha256: str
    overrides: tuple[str, ...] = ()
    files: dict[str, str]
    model: str
    data: str
    python: str
    audit: str
    code: str
    plugins: dict[str, Plugin]
    packages: dict[str, str]


def lock_path(loaded: Loaded) -> Path:
    """Where the lock of a spec lies: beside it, `spec.lock` for `spec.yaml`."""
    return loaded.path.with_suffix(".lock")


def locked(loaded: Loaded, loading: Loading) -> Lock:
    """What there is now."""
    names = uses(loaded, loading)
    used = plugins_of(loaded)
    python = package_versions(())["python"]
    return Lock(
        spec=loaded.path.name,
        sha256=sha256(loaded.text.encode("utf-8")),
        overrides=loaded.overrides,
        files=files_of(loaded),
        model=loading.contents["model"],
        data=loading.contents["data"],
        python=python,
        audit=__version__,
        code=own_code(),
        plugins=used,
        packages=closure({"auditspec", *names, *used}),
    )


def write_lock(lock: Lock) -> bytes:
    """The lock as a file."""
    return pretty_json(lock.model_dump(mode="json"))


def read_lock(loaded: Loaded) -> tuple[Lock, str]:
    """The lock beside a spec, and its digest.

    Raises:
        SpecError: there is none, or it is no lock.
    """
    path = lock_path(loaded)
    if not path.is_file():
        raise SpecError(
            f"--frozen: there is no {path.name} beside {loaded.path.name}; {_again(loaded, 'make it with')}"
        )
    data = path.read_bytes()
    try:
        return Lock.model_validate_json(data), sha256(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "it"
        text = (
            f"{path.name}: is no lock of this version: {where}: {first['msg']}; {_again(loaded, 'make it anew with')}"
        )
        raise SpecError(text) from error


def hold_spec(loaded: Loaded) -> str:
    """The digest of the lock, once spec, files, versions and plug-ins are the locked ones.

    Before that no file is opened as a model or as data, and nothing is computed. Installed plug-ins are imported:
    without their settings a spec cannot be read.

    Raises:
        SpecError: there is no lock; or one sentence for each difference.
    """
    lock, digest = read_lock(loaded)
    here = _Here(loaded)
    lines = [*here.spec(lock), *here.files(lock), *here.versions(lock)]
    if lines:
        raise SpecError([f"{lock_path(loaded).name}: {line}" for line in lines])
    return digest


def hold_inputs(loaded: Loaded, loading: Loading) -> None:
    """Refuses a model or data that came out other than the locked ones, as by code that the spec names.

    Raises:
        SpecError: one sentence for each.
    """
    lock, _ = read_lock(loaded)
    pairs = (("model", lock.model), ("data", lock.data))
    lines = [
        f"{lock_path(loaded).name}: {what}, as it is read: locked {digest[:SHORT]}…, found "
        f"{loading.contents[what][:SHORT]}…; put back what it was made of, or, if the change is meant, {_again(loaded)}"
        for what, digest in pairs
        if loading.contents[what] != digest
    ]
    if lines:
        raise SpecError(lines)


def changes(old: Lock, new: Lock) -> Iterator[str]:
    """What a new lock has otherwise than the one before, in a few words each."""
    for name, one, other in _pairs(old, new):
        if one != other:
            yield f"{name}: {_shown(one)} → {_shown(other)}"


def _pairs(old: Lock, new: Lock) -> Iterator[tuple[str, str | None, str | None]]:
    """All that two locks hold, by name."""
    yield new.spec, old.sha256, new.sha256
    yield "set beside the spec", " ".join(old.overrides), " ".join(new.overrides)
    for name in sorted({*old.files, *new.files}):
        yield name, old.files.get(name), new.files.get(name)
    yield from (("python", old.python, new.python), ("audit", old.audit, new.audit))
    yield "code of audit", old.code, new.code
    for name in sorted({*old.packages, *new.packages}):
        yield name, old.packages.get(name), new.packages.get(name)
    digests = [{name: plugin.sha256 for name, plugin in lock.plugins.items()} for lock in (old, new)]
    for name in sorted({*digests[0], *digests[1]}):
        yield f"plug-in {name}", digests[0].get(name), digests[1].get(name)


def _shown(value: str | None) -> str:
    if not value:
        return "nothing"
    return f"{value[:SHORT]}…" if len(value) == 64 else value


class _Here:
    """What there is beside a lock, and how it differs."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.meant = f"or, if the change is meant, {_again(loaded)}"

    def spec(self, lock: Lock) -> Iterator[str]:
        found = sha256(self.loaded.text.encode("utf-8"))
        if found != lock.sha256:
            yield (
                f"{self.loaded.path.name}: locked {lock.sha256[:SHORT]}…, found {found[:SHORT]}…; put the locked spec "
                f"back, {self.meant}"
            )
        if self.loaded.overrides != lock.overrides:
            one, other = (" ".join(f"--set {text}" for text in texts) or "nothing" for texts in self._overrides(lock))
            yield f"what is set beside the spec: locked {one}, found {other}; set the same, {self.meant}"

    def _overrides(self, lock: Lock) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return lock.overrides, self.loaded.overrides

    def files(self, lock: Lock) -> Iterator[str]:
        found = files_of(self.loaded)
        for name, digest in sorted(lock.files.items()):
            if found.get(name) != digest:
                there = f"{found[name][:SHORT]}…" if name in found else "no such file"
                yield f"{name}: locked {digest[:SHORT]}…, found {there}; put the locked file back, {self.meant}"
        for name in sorted(set(found) - set(lock.files)):
            yield f"{name}: is not locked, but named by the spec and there; remove it, {self.meant}"

    def versions(self, lock: Lock) -> Iterator[str]:
        python = package_versions(())["python"]
        if python != lock.python:
            yield f"python: locked {lock.python}, found {python}; use Python {lock.python}, {self.meant}"
        if __version__ != lock.audit:
            yield f"audit: locked {lock.audit}, found {__version__}; install auditspec=={lock.audit}, {self.meant}"
        elif (code := own_code()) != lock.code:
            told = f"locked {lock.code[:SHORT]}…, found {code[:SHORT]}…, other code of version {__version__}"
            yield f"audit: {told}; install the one that was locked, {self.meant}"
        for name, version in sorted(lock.packages.items()):
            found = installed_version(name)
            if name != "auditspec" and found != version:
                yield f"{name}: locked {version}, found {found}; pip install {name}=={version}, {self.meant}"
        yield from self.plugins(lock)

    def plugins(self, lock: Lock) -> Iterator[str]:
        found = plugins_of(self.loaded)
        for name in sorted({*lock.plugins, *found}):
            one, other = lock.plugins.get(name), found.get(name)
            if one == other:
                continue
            told = ["not there" if p is None else f"{p.version} ({p.sha256[:SHORT]}…)" for p in (one, other)]
            yield f"plug-in {name}: locked {told[0]}, found {told[1]}; install the locked one, {self.meant}"


def _again(loaded: Loaded, verb: str = "run") -> str:
    return f"{verb} `audit lock {loaded.path.name}`"
