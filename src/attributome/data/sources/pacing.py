"""How long to wait before a server is asked again, and how often it may be asked."""

import threading
import time
from collections.abc import Callable

from attributome.core.errors import UsageError
from attributome.core.seeds import rng

LONGEST = 60.0
"""Seconds that are waited at most, unless the server asks for more."""


def pause(url: str, failures: int, *, wait: float, seed: int, after: float = 0.0) -> float:
    """Seconds until the next try: twice as long each time, half to one and a half of that.

    Without the jitter, all who were turned away together would come back together.
    """
    jitter = float(rng(seed, url, failures).uniform(0.5, 1.5))
    longer = min(wait * 2.0 ** min(failures - 1, 30), LONGEST)
    return max(after, longer * jitter)


def slots(per_second: float, clock: Callable[[], float] = time.monotonic) -> Callable[[], float]:
    """A function that, each time it is asked, says the seconds to wait for the next free slot."""
    if not 0 < per_second < float("inf"):
        raise UsageError(f"per_second is {per_second}; it must be above 0")
    lock = threading.Lock()
    free = clock()

    def pace() -> float:
        nonlocal free
        with lock:
            now = clock()
            mine = max(now, free)
            free = mine + 1 / per_second
            return mine - now

    return pace
