"""What an exploration must have found."""

from specs.protocols.explore import Found


def all_is_well(found: Found, states: int) -> None:
    """Fail unless what must hold does, in so many states, and what may happen did; show the way to what is wrong."""
    assert found.broken is None, str(found.broken)
    assert found.stuck is None, str(found.stuck)
    assert found.endless is None, str(found.endless)
    assert found.unwitnessed == (), found.unwitnessed
    assert found.states == states, found.states
