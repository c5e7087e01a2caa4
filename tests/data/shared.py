"""Real files that lie beside the repository and are no part of it."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


def shared(name):
    """A file or folder of ``../shared/data``; skips the test, and says what is missing, where it is not there."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(reason=f"real files, which are no part of the project, are needed: ../shared/data/{name}")
    return path
