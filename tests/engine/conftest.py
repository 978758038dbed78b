"""The small audit whose bundle tests of folders copy and do harm to."""

import folder_case
import pytest


@pytest.fixture(scope="session")
def small_audit(tmp_path_factory):
    """Its spec and its bundle, which stay as they are."""
    return folder_case.make(tmp_path_factory.mktemp("small"))


@pytest.fixture
def place(small_audit, tmp_path):
    """A copy of the bundle, and a folder of the reader's own."""
    return folder_case.copy(small_audit[1], tmp_path)
