"""A process that imports once, and whose children run a verb and are killed at random moments.

Called by test_stopping.py: `python killing.py SEED BASE JOB HOME VERB...`. The children work on
copies of the run in BASE: the first undisturbed; then, until ten were killed, each on what the
killed one before it has left, and on a new copy when one was faster than its killer. Prints how
all of them ended, and after which share of the undisturbed time the ten were killed, as JSON.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from end_to_end.jobs import call

TIMES = 10


def child(words: list[str]) -> int:
    """Start a verb in a forked process."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = call(*words)
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """Wait for a child: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(seed: int, base: Path, job: str, home: Path, verb: list[str]) -> None:
    import monai.networks.nets  # noqa: F401 (imported once here, not in every child)

    torch.set_num_threads(1)
    draw = random.Random(seed)

    def fresh(run: Path) -> list[str]:
        shutil.copytree(base, run)
        return [*verb, job, "--out", str(run)]

    began = time.monotonic()
    codes, kills = [ended(child(fresh(home / "undisturbed")))], []
    whole, runs = time.monotonic() - began, 0
    while len(kills) < TIMES:
        words, survived = fresh(home / f"killed{runs}"), False
        runs += 1
        while not survived and len(kills) < TIMES:
            delay = whole * draw.uniform(0.02, 0.9)
            pid = child(words)
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)  # one that has ended is still there until waited for
            codes.append(ended(pid))
            survived = codes[-1] == 0
            kills += [] if survived else [round(delay / whole, 2)]
        codes += [] if survived else [ended(child(words))]
    print(json.dumps({"codes": codes, "kills": kills, "runs": runs}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), sys.argv[5:])
