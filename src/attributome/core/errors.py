"""The two ways a user's input can be wrong: each message is one sentence that says what is right.

Refusal(ValueError)
├── UsageError   a flag, a key, a name or a combination that cannot be meant (exit code 2)
└── DataError    an image, a table, a checkpoint or a disk that cannot be used (exit code 3)
"""


class Refusal(ValueError):  # noqa: N818 (it refuses; it is not a malfunction)
    """What attributome will not do, and why; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(Refusal):
    """The request cannot be meant as it stands."""

    exit_code = 2


class DataError(Refusal):
    """The data or files cannot be used as they stand."""

    exit_code = 3
