"""The command line: parse, call, render. One module per command; no logic here.

Nothing heavy is imported before a command runs: ``--help`` and ``--version`` stay quick.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer

from edgeprune.errors import EdgepruneError
from edgeprune.one_line import one_line

INTERRUPTED = 130
BROKEN_PIPE = 141

app = typer.Typer(
    name="edgeprune",
    help="Prune vision transformers, fine-tune them for unseen domains, export them, and"
    " measure what it bought.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: drawing it with rich costs as much as everything else that --help does.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order in which the work flows; each module registers its command on ``app``.
COMMANDS = (
    "demo",
    "prune",
    "finetune",
    "evaluate",
    "export",
    "bench",
    "check",
    "sweep",
    "report",
    "data",
    "weights",
    "recipes",
    "devices",
    "doctor",
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from edgeprune import __version__

        typer.echo(f"edgeprune {__version__}")
        raise typer.Exit


for _name in COMMANDS:
    importlib.import_module(f"edgeprune.cli.{_name}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done, 1 a check did not hold, 2 bad usage or input, 3 not available here, 130 interrupted.
    """
    command = typer.main.get_command(app)
    try:
        outcome = command.main(args=arguments, prog_name="edgeprune", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except EdgepruneError as error:
        return _failed(str(error), error.hint, error.exit_code)
    except BrokenPipeError:
        # The reader has gone, as in ``edgeprune ... | head``; nobody is left to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except SystemExit as stop:  # the parser's own answer to the same is exit code 1
        if isinstance(stop.__context__, BrokenPipeError):
            return BROKEN_PIPE
        raise
    except ImportError as error:
        if _came_from_interrupt(error):
            return _interrupted()
        return _failed(str(error), "edgeprune doctor says what is missing and how to add it", 3)
    except OSError as error:
        return _failed(str(error), None, 2)
    except Exception as error:
        # The parser's own errors, whose classes differ between typer's versions.
        if hasattr(error, "format_message"):
            return _usage_error(error)
        if os.environ.get("EDGEPRUNE_DEBUG"):
            raise
        return _failed(
            f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            "this is a defect; EDGEPRUNE_DEBUG=1 shows where",
            1,
        )
    if outcome == INTERRUPTED:
        return _interrupted()
    return outcome if isinstance(outcome, int) else 0


def _came_from_interrupt(error: BaseException | None) -> bool:
    """Tell whether Ctrl-C is behind it: while a compiled module starts, it turns into another."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def run() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main())


def _terminate(number: int, frame: FrameType | None) -> None:
    # An exception, so that every ``finally`` on the way out removes its scratch files.
    raise SystemExit(128 + number)


def _interrupted() -> int:
    if _talks():
        print("interrupted", file=sys.stderr)
    return INTERRUPTED


def _talks() -> bool:
    """Tell whether this process shows what went wrong, of those that a launcher started."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return True
    from edgeprune.training.processes import reports_errors

    return reports_errors()


def _usage_error(error: Any) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "edgeprune"
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return 2
    message = " ".join(str(error.format_message()).split())
    problems = getattr(error.__cause__, "errors", None)
    if callable(problems):  # newer typer parses with pydantic, which leaves out the value
        message = message.replace("Input should", f"{problems()[0]['input']!r} should", 1)
    return _failed(message[:1].lower() + message[1:], f"see {path} --help", 2)


def _failed(message: str, hint: str | None, code: int) -> int:
    if os.environ.get("EDGEPRUNE_DEBUG"):
        import traceback

        traceback.print_exc()
    if not _talks():
        return code
    print(f"error: {one_line(' '.join(message.split()))}", file=sys.stderr)
    if hint:
        print(f"hint: {one_line(hint)}", file=sys.stderr)
    return code
