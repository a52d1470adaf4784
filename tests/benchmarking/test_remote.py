"""``bench --host`` against a real sshd on this machine: what it measures, and what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import onnx.parser
import psutil
import pytest
from far_host import FarHost, far_host, needs_sshd
from onnx_files import write_mlp

from edgeprune.benchmarking.remote import Limits, Login, Settings, bench_remote, settings
from edgeprune.benchmarking.rounds import MIN_ROUNDS, ROUND_S
from edgeprune.cli import main
from edgeprune.errors import UnavailableError
from edgeprune.progress import SilentProgress
from edgeprune.schema import BenchResult
from edgeprune.schema.document import parse_document

pytestmark = [needs_sshd, pytest.mark.slow]

SAMPLES = Path(__file__).parent / "samples"
# Passes for an ONNX file that takes images, but no runtime has the operator.
UNKNOWN_OPERATOR = """
<ir_version: 9, opset_import: ["" : 18, "nobody" : 1]>
net (float[batch, 3, 8, 8] images) => (float[batch, 3, 1, 1] logits) {
    logits = nobody.Nothing(images)
}
"""


class Notes(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[FarHost]:
    with far_host(tmp_path / "host") as host:
        yield host


@pytest.fixture
def nets(tmp_path: Path) -> tuple[str, str]:
    """A small and a larger network."""
    small = write_mlp(tmp_path / "small.onnx", metadata={"edgeprune.macs": "1000"})
    large = write_mlp(
        tmp_path / "large.onnx", width=256, depth=4, metadata={"edgeprune.macs": "4000"}
    )
    return str(small), str(large)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.RULES, "cap_s", 0.2)


def words(board: FarHost, *more: str) -> list[str]:
    where = ["--host", "board", "--ssh-config", str(board.config)]
    how = ["--remote-python", board.python, "--threads", "1", "--min-time", "0.05"]
    return [*where, *how, "--precision-target", "none", *more]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("connecting to")]
    assert lines[0].startswith("error: "), err
    assert len(lines) <= 2, err
    return lines[0]


@pytest.mark.usefixtures("quick")
def test_two_models_and_a_baseline(
    board: FarHost, nets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = nets
    other = str(write_mlp(tmp_path / "other.onnx", width=32))
    (board.scratch / "edgeprune-agent-old").mkdir()
    os.utime(board.scratch / "edgeprune-agent-old", (0, 0))
    sizes = ["--batch", "1", "--batch", "2"]
    asked = words(board, *sizes, "--baseline", large, "--json", "-o", str(tmp_path / "bench.json"))
    assert main(["bench", small, other, *asked]) == 0
    raw = json.loads(capsys.readouterr().out)
    assert raw == json.loads((tmp_path / "bench.json").read_text())
    result = parse_document(raw, "bench", BenchResult, AssertionError)  # type: ignore[type-var]
    rows = [(row.model, row.batch, row.device) for row in result.measurements]
    where = "cpu on board"
    assert rows == [
        (name, batch, where) for batch in (1, 2) for name in ("large", "small", "other")
    ]
    assert [row.macs_ratio for row in result.comparisons] == [4.0, None, 4.0, None]
    for row in result.measurements:
        assert row.rounds == settings.RULES["min_rounds"]
        assert row.samples >= 15
        assert row.raw is not None
        assert row.memory_mb.peak_rss is not None
    environment = result.environment
    assert environment["host"] == "board"
    assert environment["threads"] == 1
    assert environment["versions"]["onnxruntime"]
    assert environment["power_mode"] is environment["tegrastats"] is environment["trtexec"] is None
    assert any("edgeprune-agent-old" in warning for warning in result.warnings)
    (board.scratch / "edgeprune-agent-old").rmdir()
    assert board.left() == []


@pytest.mark.usefixtures("quick")
def test_timm_models_are_exported_first(board: FarHost, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["vit_tiny_patch16_224", "--img-size", "32", "--num-classes", "3", "--json"]
    assert main(["bench", *arguments, *words(board)]) == 0
    (row,) = json.loads(capsys.readouterr().out)["measurements"]
    assert row["model"] == "vit_tiny_patch16_224"
    assert row["macs"] > 0
    assert board.left() == []


@pytest.mark.usefixtures("quick")
def test_weights_beside_a_file_and_a_python_with_an_odd_name(
    board: FarHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_mlp(tmp_path / "net.onnx", width=64)
    onnx.save(
        onnx.load(str(path)),
        str(path),
        save_as_external_data=True,
        location="the weights.bin",
        size_threshold=0,
    )
    odd = board.command('a "b" $(touch c);\'d', f'exec "{board.python}" "$@"\n')
    asked = [*words(board, "--json"), "--remote-python", str(odd)]
    assert main(["bench", str(path), *asked]) == 0
    (row,) = json.loads(capsys.readouterr().out)["measurements"]
    assert row["memory_mb"]["weights"] > 0.04
    assert board.left() == []


def wrong_key(board: FarHost) -> None:
    board.write_config("other_key")


def unknown_host_key(board: FarHost) -> None:
    board.known_hosts.write_text("")


def careless_config(board: FarHost) -> None:
    board.known_hosts.write_text("")
    board.write_config("user_key", StrictHostKeyChecking="no")


def changed_host_key(board: FarHost) -> None:
    other = (board.folder / "other_key.pub").read_text()
    board.known_hosts.write_text(f"[127.0.0.1]:{board.port} {other}")


def nobody_listens(board: FarHost) -> None:
    board.stop()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_key, "board cannot be used: it refuses the key"),
        (unknown_host_key, "board cannot be used: its host key is not known"),
        (careless_config, "board cannot be used: its host key is not known"),
        (changed_host_key, "board cannot be used: its host key is not the one that is known"),
        (nobody_listens, "board cannot be used: the connection is refused"),
    ],
)
def test_a_host_that_cannot_be_used(
    board: FarHost,
    nets: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    spoil: object,
    message: str,
) -> None:
    spoil(board)  # type: ignore[operator]
    spoiled = board.known_hosts.read_text()
    assert main(["bench", nets[0], *words(board)]) == 3
    assert message in error_of(capsys)
    assert board.known_hosts.read_text() == spoiled
    assert board.left() == []


def test_no_python_there(
    board: FarHost, nets: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*words(board), "--remote-python", "no-such-python"]
    assert main(["bench", nets[0], *asked]) == 3
    assert "board cannot run Python as 'no-such-python': " in error_of(capsys)
    assert board.left() == []


def test_no_runtime_there(
    board: FarHost, nets: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (board.bin / "onnxruntime.py").write_text("raise ImportError('no onnxruntime for you')\n")
    bare = board.command("bare", f'PYTHONPATH="{board.bin}" exec "{board.python}" "$@"\n')
    asked = [*words(board), "--remote-python", str(bare)]
    assert main(["bench", nets[0], *asked]) == 3
    assert "cannot run ONNX models" in (error := error_of(capsys))
    assert "no onnxruntime for you" in error
    assert main(["bench", nets[0], *asked, "--runtime", "tensorrt", "--device", "cuda"]) == 3
    assert "board has no trtexec" in error_of(capsys)
    assert board.left() == []


def test_it_is_not_the_board_of_the_profile(
    board: FarHost, nets: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", nets[0], *words(board, "--device", "jetson-orin-nano")]) == 3
    assert "board is no 'jetson-orin-nano': it is " in error_of(capsys)
    assert board.left() == []


def test_threads_and_batches_that_are_too_many_there(
    board: FarHost, nets: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", nets[0], *words(board, "--threads", "1000000")]) == 2
    assert "threads 1000000 is not accepted; 1 to " in (error := error_of(capsys))
    assert error.endswith(" cores of board")
    assert main(["bench", nets[0], *words(board, "--batch", str(10**12))]) == 2
    assert "batch 1000000000000 is not accepted: there is no memory" in error_of(capsys)
    assert board.left() == []


def test_a_model_that_fails_there(
    board: FarHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.onnx"
    onnx.save(onnx.parser.parse_model(UNKNOWN_OPERATOR), str(path))
    assert main(["bench", str(path), *words(board)]) == 2
    assert "board: ONNX Runtime there cannot load 'odd'" in error_of(capsys)
    assert board.left() == []


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_full(
    tmp_path: Path, nets: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    board = FarHost(tmp_path / "host")
    small = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(board.scratch)],
        capture_output=True,
    )
    if small.returncode:
        pytest.skip(f"no small disk can be mounted: {small.stderr.decode().strip()}")
    try:
        board.start()
        output = tmp_path / "bench.json"
        assert main(["bench", nets[1], *words(board, "-o", str(output))]) == 2
        assert "board: no space left there in " in error_of(capsys)
        assert not output.exists()
        assert board.left() == []
    finally:
        board.stop()
        subprocess.run(["umount", "-l", str(board.scratch)], check=True)


def when_measuring(board: FarHost, act: object) -> threading.Thread:
    """Do something as soon as the first rounds have been measured there."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if list(board.scratch.glob("*/progress.json")):
                act()  # type: ignore[operator]
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.usefixtures("quick")
def test_a_connection_that_drops_is_made_again(board: FarHost, nets: tuple[str, str]) -> None:
    notes, dropped = Notes(), []
    thread = when_measuring(board, lambda: dropped.append(board.drop()))
    result = bench_remote(
        [nets[0]],
        Login("board", board.python, board.config),
        baseline=nets[1],
        settings=Settings(min_time_s=4.0, threads=1, precision_target=None),
        progress=notes,
    )
    thread.join()
    assert dropped == [1]
    assert sum("was lost" in note for note in notes.said) == 1
    assert [row.model for row in result.measurements] == ["large", "small"]
    rounds = {row.rounds for row in result.measurements}
    assert len(rounds) == 1
    # A turn lasts longer where the far machine's threads take their time to come to rest.
    assert MIN_ROUNDS <= rounds.pop() <= 4.0 / ROUND_S
    assert board.left() == []


@pytest.mark.usefixtures("quick")
def test_a_connection_that_stays_away_leaves_nothing_there(
    board: FarHost, nets: tuple[str, str]
) -> None:
    notes = Notes()
    thread = when_measuring(board, board.stop)
    with pytest.raises(
        UnavailableError, match=r"did not come back within 1 s: .*refused"
    ) as caught:
        bench_remote(
            [nets[0]],
            Login("board", board.python, board.config),
            settings=Settings(min_time_s=60.0, threads=1),
            progress=notes,
            limits=Limits(reconnect_s=1.0, lease_s=4.0),
        )
    thread.join()
    assert caught.value.hint == "what runs there ends by itself after 4 s"
    assert "could not be removed now" in notes.said[-1]
    assert board.wait_until_clean() == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("guard", "board: the guard of the run was ended there"),
        ("measure", "board: the measuring process died there (killed by SIGKILL)"),
        ("worker", "board: the process that measured 'small' died there (killed by SIGKILL)"),
    ],
)
def test_a_process_that_is_killed_there(
    board: FarHost,
    nets: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    what: str,
    message: str,
) -> None:
    def kill() -> None:
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if what in command and str(board.scratch) in str(command):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    thread = when_measuring(board, kill)
    assert main(["bench", nets[0], *words(board), "--min-time", "600"]) == 3
    thread.join()
    assert message in error_of(capsys)
    assert board.wait_until_clean() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_on_either_side(
    board: FarHost, nets: tuple[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    asked = [*words(board), "--min-time", "600", "-o", str(tmp_path / "bench.json")]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeprune", "bench", nets[0], *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(here)},
    )
    when_measuring(board, lambda: os.killpg(process.pid, number)).join()
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in out + err
    assert "warning" not in err
    assert board.left() == []
    assert not (tmp_path / "bench.json").exists()
    assert list(here.glob("*edgeprune*")) == []


@pytest.mark.skipif(
    "EDGEPRUNE_AARCH64_PYTHON" not in os.environ,
    reason="EDGEPRUNE_AARCH64_PYTHON names no emulated Python; docs/remote.md says how to make one",
)
@pytest.mark.usefixtures("quick")
def test_an_emulated_aarch64_userland(
    board: FarHost, nets: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*words(board, "--json"), "--remote-python", os.environ["EDGEPRUNE_AARCH64_PYTHON"]]
    assert main(["bench", nets[0], *asked]) == 0
    assert json.loads(capsys.readouterr().out)["environment"]["machine"] == "aarch64"
    assert board.left() == []


FAKE_TRTEXEC = """
for word in "$@"; do
  case "$word" in
    --saveEngine=*) echo engine > "${{word#*=}}" ;;
    --loadEngine=*) test -f "${{word#*=}}" || exit 1 ;;
    --exportTimes=*) cp "{times}" "${{word#*=}}" ;;
  esac
done
cat "{log}"
"""


@pytest.mark.usefixtures("quick")
def test_a_simulated_jetson(
    board: FarHost, nets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts that replay public samples: no board, no GPU and no TensorRT took part."""
    times = tmp_path / "times.json"
    # Older versions export the queries of the warm-up too, which are none of the samples.
    queries = [(20.0, 9.0), *[(501.0 + index, 1.5) for index in range(40)]]
    times.write_text(json.dumps([{"startComputeMs": at, "computeMs": ms} for at, ms in queries]))
    log = tmp_path / "trtexec.log"
    sample = (SAMPLES / "trtexec_v100900_rtx3070_resnet50.txt").read_text()
    log.write_text(sample.replace("dimensions 1x3", "dimensions 2x3"))
    board.command("trtexec", FAKE_TRTEXEC.format(times=times, log=log))
    board.command("nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'; echo 2\n")
    board.command("jetson_clocks", "echo 'GPU MinFreq=1020 MaxFreq=1020'\n")
    line = next(
        row.split("|", 3)[3]
        for row in (SAMPLES / "tegrastats.txt").read_text().splitlines()
        if row.startswith("orin_nano_r36_user|")
    )
    board.command("tegrastats", f"while :; do echo '{line}'; sleep 0.005; done\n")
    asked = words(board, "--runtime", "tensorrt", "--device", "cuda", "--precision", "fp16")
    assert main(["bench", nets[0], *asked, "--batch", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["measurements"]
    assert row["device"] == "cuda on board"
    assert (row["precision"], row["batch"], row["samples"]) == ("fp16", 2, 200)
    assert row["latency_ms"]["p50"] == pytest.approx(1.5)
    assert row["throughput_ips"] == pytest.approx(2000 / 1.5)
    # trtexec tells of its execution context alone, without the weights.
    assert row["memory_mb"]["device_peak"] is None
    environment = document["environment"]
    assert environment["power_mode"] == "MAXN_SUPER"
    assert environment["clocks"] == "GPU MinFreq=1020 MaxFreq=1020"
    assert environment["tegrastats"]["board_mw_mean"] == 4742
    assert environment["trtexec"]["version"] == environment["versions"]["trtexec"] == "10.9.0"
    (command,) = environment["trtexec"]["commands"]
    assert "--shapes=images:2x3x8x8" in command
    assert "--noDataTransfers" in command
    assert any("GPU compute time is unstable" in warning for warning in document["warnings"])
    assert main(["bench", nets[0], *asked, "--batch", "1"]) == 2
    assert "'small' ran with batch 2, not 1" in error_of(capsys)
    assert board.left() == []
