"""The command line: parse, call the pipeline, say what happened. Nothing here computes.

Exit codes: 0 done, 1 a gate that stays shut, 2 a request that cannot be meant, 3 data that cannot
be used, 4 done for some fields only, 130 stopped by Ctrl-C. Whatever was stopped goes on with the
same command.
"""

import errno
import sys
from collections.abc import Callable

import typer

from attributome.cli import benchmarking, data, fcgr, inpaint, looking, profile, running, study
from attributome.cli.speaking import STOPPED, complain
from attributome.core.errors import Refusal

GOES_ON = "stopped; the same command goes on from here"

app = typer.Typer(
    help="What does a deep network on cells use, how sure can we be, and is it biology?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(help="Train a predictor, or masks for one.", no_args_is_help=True)
app.add_typer(train, name="train")
VERBS: list[Callable[..., None]] = [
    running.demo,
    running.run,
    looking.init,
    looking.inspect,
    looking.methods,
    running.explain,
    running.score,
    looking.report,
    looking.gate,
]
for verb in VERBS:
    app.command()(verb)
benchmark = typer.Typer(help="Which method to believe.", no_args_is_help=True)
app.add_typer(benchmark, name="benchmark")
benchmark.command("planted")(benchmarking.planted)
app.add_typer(fcgr.app, name="fcgr")
app.add_typer(inpaint.app, name="inpaint")
app.add_typer(profile.app, name="profile")
app.add_typer(data.app, name="data")
app.command("study")(study.study)
train.command("predictor")(running.train_predictor)
train.command("masks")(running.train_masks)


def main() -> None:
    """Run the command line and end with the exit code that the module describes."""
    sys.exit(run_cli(sys.argv[1:]))


def run_cli(arguments: list[str]) -> int:
    """The exit code of a command line; errors become one sentence on standard error."""
    try:
        code = app(arguments, prog_name="attributome", standalone_mode=False)
        if code == STOPPED:  # what typer makes of Ctrl-C
            complain(GOES_ON)
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        says = " ".join(error.format_message().split())
        if says:  # nothing where the help was shown instead
            complain(says)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        complain(GOES_ON)
        return STOPPED
    except Refusal as error:
        complain(str(error))
        return error.exit_code
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = f" ({error.filename})" if error.filename else ""
        complain(f"{'the disk is full' if full else error.strerror or error}{where}")
        return 3
