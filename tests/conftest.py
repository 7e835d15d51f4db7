"""Fixtures of all tests."""

import pytest


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A folder without a pyproject.toml: the settings are the defaults."""
    monkeypatch.chdir(tmp_path)
