"""No workers of joblib's are left to the tests that count processes."""

import pytest
from joblib.externals.loky import get_reusable_executor


@pytest.fixture(scope="package", autouse=True)
def no_workers_left():
    yield
    get_reusable_executor().shutdown(wait=True, kill_workers=True)
