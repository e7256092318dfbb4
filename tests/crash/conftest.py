"""A place of its own for each test: a folder on the local disk for the root, one for the records."""
import pytest

from places import folder_outside, pytest_runtest_makereport, ready_to_start  # noqa: F401 (a hook)
from tarn_server import TarnServer
from telling import pytest_terminal_summary  # noqa: F401 (a hook)


@pytest.fixture
def outside(request):
    with folder_outside(request, "crash") as path:
        yield path


@pytest.fixture
def server(outside):
    """Made, not started."""
    with ready_to_start(TarnServer(outside / "tarn")) as server:
        yield server
