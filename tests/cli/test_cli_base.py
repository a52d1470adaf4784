"""What every command shares: help, version, exit codes and one-line errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from edgeprune import __version__
from edgeprune import machine as machine_module
from edgeprune.cli import COMMANDS, main
from edgeprune.cli.render import plain, warn
from edgeprune.errors import CheckError, EdgepruneError, UnavailableError, UsageError
from edgeprune.progress import TerminalProgress

HEAVY = ("torch", "onnxruntime", "timm", "numpy", "rich")


def edgeprune(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeprune", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_nothing_heavy_is_imported_for(option: str) -> None:
    code = (
        "import sys; from edgeprune.cli import main; code = main([sys.argv[1]]);"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules];"
        "print(heavy, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, option], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    names = {line.split()[0] for line in shown.splitlines() if line.startswith("  ")}
    assert {"devices", "doctor"} <= names
    assert {"eval" if name == "evaluate" else name for name in COMMANDS} >= {
        name for name in names if name.isalpha() and name.islower()
    } - {"and"}


def test_version() -> None:
    done = edgeprune("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"edgeprune {__version__}\n", "")


def test_without_arguments_it_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert said(capsys)[0].startswith("Usage: edgeprune")


@pytest.mark.parametrize(
    ("arguments", "named", "hint"),
    [
        (["doctr"], "doctr", "see edgeprune --help"),
        (["devices", "shw"], "shw", "see edgeprune devices --help"),
        (["devices", "show"], "NAME", "see edgeprune devices show --help"),
        (["devices", "show", "a", "b"], "b", "see edgeprune devices show --help"),
        (["devices", "list", "--jsn"], "--jsn", "see edgeprune devices list --help"),
        (["doctor", "--json=1"], "--json", "see edgeprune --help"),
    ],
)
def test_bad_usage_is_one_line_and_a_hint(
    arguments: list[str], named: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error, *rest = said(capsys)
    assert error.startswith("error: ")
    assert named in error
    assert rest == [f"hint: {hint}"]


@pytest.mark.parametrize(
    ("option", "value"), [("--number", "half"), ("--number", "-1"), ("--share", "half")]
)
def test_a_bad_value_is_named(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = typer.Typer(rich_markup_mode=None)

    @toy.command()
    def command(
        number: int = typer.Option(1, min=0),
        share: float = 0.5,
    ) -> None: ...

    monkeypatch.setattr("edgeprune.cli.app", toy)
    assert main([option, value]) == 2
    error, _ = said(capsys)
    assert option in error
    assert value in error.replace(option, "")


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (UsageError("no", hint="so"), 2, ["error: no", "hint: so"]),
        (CheckError("two\n lines"), 1, ["error: two lines"]),
        (UnavailableError("no GPU"), 3, ["error: no GPU"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
        (OSError(28, "No space left on device"), 2, ["error: [Errno 28] No space left on device"]),
        (
            ModuleNotFoundError("No module named 'jinja2'"),
            3,
            [
                "error: No module named 'jinja2'",
                "hint: edgeprune doctor says what is missing and how to add it",
            ],
        ),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            [
                "error: unexpected ZeroDivisionError: division by zero",
                "hint: this is a defect; EDGEPRUNE_DEBUG=1 shows where",
            ],
        ),
    ],
)
def test_every_failure_has_its_exit_code(
    error: BaseException,
    code: int,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(machine_module, "detect", fail)
    monkeypatch.delenv("EDGEPRUNE_DEBUG", raising=False)
    assert main(["devices", "detect"]) == code
    assert said(capsys) == lines


def test_what_is_said_in_one_line_stays_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    warn(["a\nb \x1b[31mc"])
    TerminalProgress().say("warning: a\r\nb")
    assert main(["devices", "show", "no\n\x1b[31m.toml"]) == 2
    warned, progress, error = said(capsys)
    assert (warned, progress) == ("warning: a b \N{REPLACEMENT CHARACTER}[31mc", "warning: a b")
    assert error.startswith("error: device profile 'no\\n\\x1b[31m.toml' cannot be read")
    assert main(["no\n\x1b[31m"]) == 2
    error, hint = said(capsys)
    assert "\x1b" not in error
    assert hint == "hint: see edgeprune --help"


def test_plain_text_is_no_markup() -> None:
    shown = plain("[red]x[/nope]\x1b\n:cat:", "yellow")
    assert (shown.plain, shown.style) == ("[red]x[/nope]\N{REPLACEMENT CHARACTER} :cat:", "yellow")


def test_debug_shows_the_traceback() -> None:
    done = edgeprune("devices", "show", "nope", EDGEPRUNE_DEBUG="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "error: unknown device 'nope'" in done.stderr
    plain = edgeprune("devices", "show", "nope", EDGEPRUNE_DEBUG="")
    assert "Traceback" not in plain.stderr


def test_json_is_all_there_is_on_stdout() -> None:
    done = edgeprune("devices", "show", "generic-cpu", "--json")
    assert json.loads(done.stdout)["schema"] == "edgeprune/devices-show@1"
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["--json"], []])
def test_stdout_that_is_full(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeprune", "devices", "show", "generic-cpu", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: [Errno 28] No space left on device")


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", "devices", "list", "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_clean_up_on_the_way_out(number: signal.Signals, code: int, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "import edgeprune.cli, edgeprune.machine\n"
        "from edgeprune.files import output_directory\n"
        "def wait():\n"
        "    with output_directory(Path(sys.argv[1]) / 'out'):\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "edgeprune.machine.detect = wait\n"
        "sys.argv[1:] = [sys.argv[1], 'devices', 'detect']\n"
        "edgeprune.cli.main.__defaults__ = (sys.argv[2:],)\n"
        "edgeprune.cli.run()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    assert child.wait(timeout=60) == code
    assert list(tmp_path.iterdir()) == []


def test_errors_carry_the_codes_of_the_contract() -> None:
    codes = {kind.__name__: kind.exit_code for kind in EdgepruneError.__subclasses__()}
    assert codes.pop("CheckError") == 1
    assert codes.pop("UnavailableError") == 3
    assert set(codes.values()) == {2}


def test_ctrl_c_while_a_compiled_module_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a module reports it as an ImportError of its own."""

    def start(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError("initialization failed") from interrupt

    monkeypatch.setattr(typer.main, "get_command", lambda _: SimpleNamespace(main=start))
    assert main([]) == 130
    assert said(capsys) == ["interrupted"]
