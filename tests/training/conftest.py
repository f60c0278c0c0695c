"""Settings and pictures of a run that takes a tenth of a second."""

import pytest

from tests.training import rectangles


@pytest.fixture
def settings():
    return rectangles.TINY


@pytest.fixture
def data():
    return rectangles.data()
