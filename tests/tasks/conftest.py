import pytest

from expert_iter.tasks.numbers import countdown, game24


@pytest.fixture(autouse=True)
def few_plays(monkeypatch):
    """Smaller pools to pick problems from than in earnest."""
    monkeypatch.setattr(countdown, "_PLAYS", 1 << 15)
    monkeypatch.setattr(game24, "_PLAYS", 1 << 14)
