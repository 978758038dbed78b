"""What can go wrong through no fault of ours. The command line prints these without a traceback.

AuditError
├── SpecError     the spec or the usage is wrong                       exit 2
├── ModelError    the model cannot be read, or answers nonsense        exit 3
├── DataError     the data cannot be read, or cannot be audited        exit 3
├── WriteError    the disk refuses, or another run has the folder      exit 3
└── BundleError   a bundle is damaged or was altered                   exit 4

Anything else that is raised is a fault of ours and shows its traceback.
"""

from collections.abc import Sequence


class AuditError(Exception):
    """One or more problems, each a sentence that says where, what was found, what is allowed, what to do."""

    exit_code = 3

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class SpecError(AuditError, ValueError):
    """The spec or the command line is wrong."""

    exit_code = 2


class ModelError(AuditError):
    """The model file or its answers cannot be used."""


class DataError(AuditError):
    """The data cannot be read or audited."""


class WriteError(AuditError):
    """A bundle cannot be written: the disk refuses, or another process writes into the same folder."""


class BundleError(AuditError):
    """The bundle does not hold what its manifest says."""

    exit_code = 4
