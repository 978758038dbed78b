"""From one YAML file to a model audit that a regulator can read, check and recompute.

The names below are the public ones. Each is imported when it is first asked for, so that `import audit` costs nothing.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit.core.errors import AuditError
    from audit.core.evidence import Metric, Note, Result
    from audit.core.method import Generator, Method
    from audit.core.model import Adapter
    from audit.core.table import Table
    from audit.engine.run import Options, run
    from audit.report import render
    from audit.spec.load import load_spec

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "AuditError",
    "Generator",
    "Method",
    "Metric",
    "Note",
    "Options",
    "Result",
    "Table",
    "load_spec",
    "render",
    "run",
    "verify",
]

_HOME = {
    "Adapter": "audit.core.model",
    "AuditError": "audit.core.errors",
    "Generator": "audit.core.method",
    "Method": "audit.core.method",
    "Metric": "audit.core.evidence",
    "Note": "audit.core.evidence",
    "Options": "audit.engine.run",
    "Result": "audit.core.evidence",
    "Table": "audit.core.table",
    "load_spec": "audit.spec.load",
    "render": "audit.report",
    "run": "audit.engine.run",
}


def verify(bundle: Path | str) -> list[str]:
    """What is wrong with a bundle, one sentence each; empty where it stands.

    As `audit verify --quick`: digests, contradictions, texts drawn again, signatures; the PDF is not drawn again.

    Raises:
        BundleError: the folder holds no readable manifest.
    """
    from audit.bundle import Bundle

    check = importlib.import_module("audit.engine.verify").verify
    return list(check(Bundle(Path(bundle)), quick=True).problems)


def __getattr__(name: str) -> Any:
    """A public name, imported now."""
    if name not in _HOME:
        raise AttributeError(f"module 'audit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
