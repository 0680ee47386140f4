"""What a person sees while work goes on: a bar with the time left, or a line now and then."""

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY = 10.0


class Terminal:
    """Progress bars on a terminal, plain lines elsewhere. A class: it owns the screen."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.screen = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> "Terminal":
        self.screen.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.screen.stop()

    def bars(self, title: str) -> "Bar":
        """A progress for one piece of work."""
        return Bar(self, title)

    def tell(self, line: str) -> None:
        """A line above the bars."""
        self.screen.console.print(line, highlight=False, markup=False, soft_wrap=True)


class Bar:
    """One line of progress; called with the share done and a few words."""

    def __init__(self, terminal: Terminal, title: str) -> None:
        self.terminal, self.title = terminal, title
        self.task: TaskID = terminal.screen.add_task(title, total=1.0, words="")
        self.started = self.spoken = time.monotonic()

    def __call__(self, done: float, words: str) -> None:
        """Show the state; without a terminal at most a line every ten seconds, and the last."""
        self.terminal.screen.update(self.task, completed=done, words=escape(words))
        now = time.monotonic()
        if self.terminal.console.is_terminal or (done < 1 and now - self.spoken < LINE_EVERY):
            return
        self.spoken = now
        spent = now - self.started
        left = f", about {spent / done - spent:.0f} s left" if 0 < done < 1 else ""
        line = f"{self.title}: {100 * done:3.0f} % after {spent:.0f} s{left}; {words}"
        self.terminal.console.print(line, highlight=False, markup=False, soft_wrap=True)
