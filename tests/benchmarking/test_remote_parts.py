"""The parts of ``bench --host`` that need no other machine."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engine_stand_ins import record
from onnx_files import write_mlp

from edgeprune.benchmarking import agent, context
from edgeprune.benchmarking.candidates import Candidate
from edgeprune.benchmarking.remote import Login, Settings
from edgeprune.benchmarking.remote.bench import check_machine, job_of
from edgeprune.benchmarking.remote.connection import Connection, ConnectionLostError, far_error
from edgeprune.benchmarking.remote.facts import FarFacts, environment_of, machine_of, read_facts
from edgeprune.benchmarking.remote.login import explain
from edgeprune.benchmarking.remote.models import find_sources, parcel
from edgeprune.benchmarking.remote.reply import (
    energy_mj,
    power_samples,
    read_logs,
    read_result,
)
from edgeprune.benchmarking.remote.tasks import Task, make_tasks
from edgeprune.benchmarking.tegrastats import summary
from edgeprune.cli import main
from edgeprune.engines.files import record_path
from edgeprune.errors import (
    DiskFullError,
    EngineError,
    ModelError,
    ResultError,
    UnavailableError,
    UsageError,
)

TEGRASTATS = "RAM 1905/7620MB GR3D_FREQ 50%@[305] gpu@45.0C VDD_IN {}mW/4742mW\n"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("board", ["--", "board"]),
        ("nvidia@board", ["-l", "nvidia", "--", "board"]),
        ("nvidia@192.168.55.1:2222", ["-l", "nvidia", "-p", "2222", "--", "192.168.55.1"]),
        ("[fe80::1%eth0]:22", ["-p", "22", "--", "fe80::1%eth0"]),
        ("[::1]", ["--", "::1"]),
    ],
)
def test_a_host_becomes_words(host: str, words: list[str]) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("not installed: ssh")
    command = Login(host).command()
    assert command[-1 - len(words) : -1] == words
    assert "BatchMode=yes" in command
    assert "StrictHostKeyChecking=yes" in command
    assert shlex.split(command[-1])[:2] == ["python3", "-c"]


@pytest.mark.parametrize(
    "host",
    [
        "",
        "-oProxyCommand=reboot",
        "nvidia@-oProxyCommand=reboot",
        "-l@board",
        "bo ard",
        "board\n",
        "board;reboot",
        "$(reboot)",
        "board:",
        "board:ssh",
        "board:0",
        "board:65536",
        "a@b@c",
        "fe80::1",
        "[board]",
        "b" * 300,
    ],
)
def test_a_host_that_is_none_is_refused(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="is not accepted; USER@HOST"):
        Login(host)
    assert main(["bench", "net.onnx", f"--host={host}"]) == 2
    assert "is not accepted; USER@HOST" in capsys.readouterr().err


@pytest.mark.parametrize("python", ["", "-c", "python\n3"])
def test_a_python_that_is_no_command_is_refused(python: str) -> None:
    with pytest.raises(UsageError, match="remote-python"):
        Login("board", python)


def test_a_python_there_is_quoted() -> None:
    if shutil.which("ssh") is None:
        pytest.skip("not installed: ssh")
    python = "my python; $(reboot) 'x'"
    assert shlex.split(Login("board", python).command()[-1])[0] == python


@pytest.mark.parametrize(
    ("code", "said", "message"),
    [
        (255, "ssh: Could not resolve hostname b: Name or service not known", "no such host"),
        (255, "ssh: connect to host b port 22: Connection timed out", "does not answer"),
        (255, "ssh: connect to host b port 22: No route to host", "no route to it"),
        (255, "n@b: Permission denied (publickey,password).", "refuses the key"),
        (255, "Host key verification failed.", "host key is not known"),
        (255, "kex_exchange_identification: read: reset", "cannot be used: kex_exchange"),
        (127, "bash: python3: command not found", "cannot run Python as 'python3': bash:"),
        (1, "Python 3.6 is too old: 3.8 or newer is needed", "Python 3.6 is too old"),
        (1, "", "exit code 1"),
    ],
)
def test_what_ssh_says_is_told_in_one_sentence(code: int, said: str, message: str) -> None:
    error = explain(Login("b"), code, said)
    assert error.exit_code == 3
    assert message in str(error)
    assert "\n" not in str(error)
    assert "HOST" not in (error.hint or "")


def test_errors_from_there_are_ours_and_nothing_else() -> None:
    full = far_error("b", {"error": "DiskFullError", "message": "no space", "hint": None})
    assert isinstance(full, DiskFullError)
    assert str(full) == "b: no space"
    for name in ("Path", "SystemExit", "annotations", ""):
        assert type(far_error("b", {"error": name, "message": "x"})) is UnavailableError


FAKE_SSH = """#!{python}
import json, sys
sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
print("Welcome to the board!")
print(json.dumps({{"agent": 1}}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)["do"]
    if asked == "fail":
        sys.exit("ValueError: a defect")
    if asked == "drop":
        sys.exit(255)
    print(json.dumps({{"event": "progress", "done": 0.5}}))
    print(json.dumps({{"re": "something older"}}))
    print(json.dumps({{"re": asked}}), flush=True)
"""


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh"
    program.write_text(FAKE_SSH.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("fake_ssh")
def test_an_event_that_overtakes_the_reply_is_kept() -> None:
    connection = Connection(Login("b"))
    try:
        assert connection.ask("measure") == {"re": "measure"}
        assert connection.event() == {"event": "progress", "done": 0.5}
    finally:
        connection.close()


@pytest.mark.usefixtures("fake_ssh")
@pytest.mark.parametrize(
    ("do", "kind", "message"),
    [
        ("fail", UnavailableError, "the agent on b failed: ValueError: a defect"),
        ("drop", ConnectionLostError, "the connection to b was lost"),
    ],
)
def test_a_defect_there_is_no_lost_connection(
    do: str, kind: type[UnavailableError], message: str
) -> None:
    connection = Connection(Login("b"))
    with pytest.raises(UnavailableError) as caught:
        connection.ask(do)
    connection.close()
    assert (type(caught.value), str(caught.value)) == (kind, message)


def test_without_ssh_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="no ssh here"):
        Connection(Login("b"))


def facts(**changes: Any) -> FarFacts:
    fields = {
        "files": {"proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd42\n"},
        "commands": {"lscpu": "Architecture: aarch64\nModel name:   Cortex-A78AE\n"},
        "runtimes": {"versions": {"onnxruntime": "1.18.1", "numpy": "1.26.4"}, "problem": None},
        "trtexec": None,
        "tegrastats": False,
        "cores": 6,
        "available_cores": 6,
        "busy_cores": 0.1,
        "machine": "aarch64",
        "processor": "",
        "system": "Linux 5.15.148-tegra",
        "python": "3.10.12",
    }
    return read_facts({**fields, **changes}, "board")


ORIN_NANO = {
    "proc/cpuinfo": "processor\t: 0\n",
    "proc/meminfo": "MemTotal:        7802476 kB\n",
    "proc/loadavg": "0.25 0.20 0.10 1/300 4242\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "729600\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n",
    "etc/absent": None,
}


def test_a_board_is_recognised_by_its_files() -> None:
    """Copies of system files: no board took part."""
    board = facts(
        files=ORIN_NANO,
        commands={
            "lscpu": "Model name: Cortex-A78AE\n",
            "nvpmodel": "NV Power Mode: 15W\n0\n",
            "jetson_clocks": None,
        },
    )
    machine = machine_of(board)
    assert (machine.profile, machine.kind, machine.cpu) == (
        "jetson-orin-nano",
        "jetson",
        "Cortex-A78AE",
    )
    found = environment_of(board, machine, host="b", threads=6, packages=("onnxruntime", "numpy"))
    assert found["jetpack"] == "6.2"
    assert found["power_mode"] == "15W"
    assert found["fastest_power_mode"] == {"id": 0, "name": "15W"}
    assert found["clocks"] is None
    assert (found["governor"], found["frequency_mhz"], found["cpu_limit"]) == (
        "schedutil",
        729.6,
        1.5,
    )
    assert (found["load_average"], found["memory_gb"]) == (0.25, 8.0)
    assert found["versions"]["numpy"] == "1.26.4"
    assert set(context.describe(1, ("onnxruntime",))) <= set(found)
    assert set(context.describe(1, ())["versions"]) <= set(found["versions"])
    login = Login("b")
    check_machine(Settings(runtime="tensorrt", device="jetson-orin-nano"), machine, login)
    check_machine(Settings(device="generic-cpu"), machine, login)
    check_machine(Settings(device="generic-cuda"), machine, login)
    with pytest.raises(
        UnavailableError, match=r"b is no 'jetson-nano': it is NVIDIA .*'jetson-orin-nano'"
    ):
        check_machine(Settings(device="jetson-nano"), machine, login)


def test_the_cpu_there_is_the_one_of_its_profile(tmp_path: Path) -> None:
    machine, login = machine_of(facts()), Login("b")
    with pytest.raises(UnavailableError, match=r"b is no 'amd-epyc-1-core' \(AMD .*: it is Cortex"):
        check_machine(Settings(device="amd-epyc-1-core"), machine, login)
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ntitle = "Mine"\nkind = "cpu"\ncpu = "Cortex-A78AE"\n'
        '[[source]]\ntext = "lscpu"\nverified = true\nof = ["cpu"]\n'
    )
    settings = Settings(device=str(path))
    check_machine(settings, machine, login)
    assert (settings.target, settings.device_on("b")) == ("cpu", "mine on b")


def test_what_a_plain_machine_does_not_tell_is_null() -> None:
    plain = facts(commands={}, files={"../escape": "x", "proc/meminfo": "MemTotal: 1000000 kB\n"})
    found = environment_of(plain, machine_of(plain), host="b", threads=1, packages=("onnxruntime",))
    null = {name for name, value in found.items() if value is None}
    assert null == {
        *("board", "l4t", "jetpack", "power_mode", "fastest_power_mode", "clocks"),
        *("cpu_limit", "memory_limit_mb", "load_average", "governor"),
        *("frequency_mhz", "max_frequency_mhz", "on_battery", "gpu"),
    }
    assert found["cpu"] == "aarch64"


def test_facts_that_are_damaged_are_refused() -> None:
    with pytest.raises(ResultError, match="what board says of itself is damaged: cores: "):
        facts(cores="many")


def tasks(path: Path, **changes: Any) -> list[Task]:
    settings = Settings(**changes)
    return make_tasks(find_sources([Candidate(str(path))], settings.runtime), settings)


def test_the_job_names_files_by_their_digest_and_inputs_by_their_shape(tmp_path: Path) -> None:
    path = write_mlp(tmp_path / "net.onnx", metadata={"edgeprune.macs": "77"})
    settings = Settings(batches=(2, 4, 2))
    made = make_tasks(find_sources([Candidate(str(path))], "onnxruntime"), settings)
    assert [task.batch for task in made] == [2, 4]
    assert made[0].loaded.macs == 77
    job = job_of(made, settings, facts(), 3)
    assert json.loads(json.dumps(job)) == job
    ((first,), (second,)) = job["groups"]
    assert first["input"]["shape"] == [2, 3, 8, 8]
    assert second["input"]["shape"] == [4, 3, 8, 8]
    assert first["file"] == f"model-{first['sha256']}/{first['sha256']}.onnx"
    assert first["environment"]["OMP_NUM_THREADS"] == "3"


def test_the_record_beside_an_engine_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.fp16.engine"
    path.write_bytes(b"engine")
    digest = hashlib.sha256(b"engine").hexdigest()
    known = record().model_copy(update={"sha256": digest})
    record_path(path).write_text(known.to_json())
    board = {"runtime": "tensorrt", "device": "cuda"}
    first, second = tasks(path, **board, batches=(1, 4))
    assert (first.loaded.precision, first.loaded.macs) == ("fp16", 1000)
    assert first.loaded.fingerprint == "f" * 64
    assert second.request(Settings(**board), "trtexec", 1)["shapes"] == ["--shapes=images:4x3x8x8"]
    with pytest.raises(UsageError, match=r"batch of 8 is not accepted .* 1 to 4 are"):
        tasks(path, **board, batches=(8,))
    with pytest.raises(UsageError, match=r"'fp32' was asked for, .* is an engine in fp16"):
        tasks(path, **board, precision="fp32")
    path.write_bytes(b"another")
    with pytest.raises(EngineError, match="is not the engine that"):
        tasks(path, **board)


def test_files_that_do_not_fit_are_refused_before_anything_is_copied(tmp_path: Path) -> None:
    fixed = write_mlp(tmp_path / "fixed.onnx", batch=2)
    with pytest.raises(UsageError, match="fixed batch size 2; --batch 1"):
        tasks(fixed)
    with pytest.raises(UsageError, match="cannot load the engine"):
        tasks(tmp_path / "net.engine")
    with pytest.raises(ModelError, match=r"net.engine' does not exist"):
        tasks(tmp_path / "net.engine", runtime="tensorrt", device="cuda")
    path = write_mlp(tmp_path / "net.onnx")
    onnx.save(
        onnx.load(str(path)),
        str(path),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    (source,) = find_sources([Candidate(str(path))], "onnxruntime")
    before = parcel(source)
    assert [name for _, name in before.files()] == ["w.bin", f"{before.digest}.onnx"]
    weights = tmp_path / "w.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    after = parcel(source)
    assert after.digest == before.digest
    assert after.folder != before.folder
    weights.unlink()
    with pytest.raises(UsageError, match=r"w.bin', which is no file beside it"):
        parcel(source)


def test_precisions_of_tensorrt(tmp_path: Path) -> None:
    gpu = {"runtime": "tensorrt", "device": "cuda"}
    path = write_mlp(tmp_path / "net.onnx")
    half = write_mlp(tmp_path / "half.onnx", metadata={"edgeprune.precision": "fp16"})
    settings = Settings(**gpu, precision="fp16")  # type: ignore[arg-type]
    for (task,) in (tasks(path, **gpu, precision="fp16"), tasks(half, **gpu)):
        request = task.request(settings, "/opt/trtexec", 1)
        assert request["flags"] == ["--fp16"]
        assert request["shapes"] == ["--shapes=images:1x3x8x8"]
        assert task.loaded.precision == "fp16"
    with pytest.raises(UsageError, match=r"precision 'int8' was asked for, 'net' is .* in fp32"):
        tasks(path, **gpu, precision="int8")
    with pytest.raises(UsageError, match=r"'half' is an ONNX file in fp16$"):
        tasks(half, precision="fp32")
    engine = tmp_path / "net.engine"
    engine.write_bytes(b"engine")
    with pytest.raises(UsageError, match="what precision the engine"):
        tasks(engine, **gpu)
    with pytest.raises(UsageError, match="two models are called 'net'"):
        find_sources([Candidate(str(path)), Candidate(str(engine))], "tensorrt")
    (task,) = tasks(engine, **gpu, precision="int8")
    assert task.request(settings, "/opt/trtexec", 1)["build"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runtime": "torch"}, "unknown runtime on a far machine 'torch'; accepted: onnxruntime"),
        ({"runtime": "tensorrt"}, "'tensorrt' does not run on 'cpu'"),
        ({"precision": "int4"}, "unknown precision 'int4'; accepted: fp32, fp16, int8"),
        ({"device": "jetson-orin"}, "unknown device 'jetson-orin'"),
        ({"batches": (0,)}, "batch 0 is not accepted"),
        ({"min_time_s": float("nan")}, "min-time nan is not accepted"),
    ],
)
def test_settings_that_are_not_accepted(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings(**changes)


def raw_model(**changes: Any) -> dict[str, Any]:
    warmup = {
        "calls": 3,
        "call_s": 0.001,
        "beside_s": 0.02,
        "rates": [1000.0],
        "spent_s": 0.1,
        "stop": "stable",
    }
    fields = {
        "rounds": [[2_000_000] * 5, [4_000_000] * 5],
        "spans_ns": [[0, 100], [200, 300]],
        "restless": 0,
        "warmup": warmup,
        "peak_rss_bytes": 5_000_000,
        "stopped_by": "min_time",
    }
    return {**fields, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": [[1, 2], [0]]}, "rounds.1.0: "),
        ({"rounds": [[1, 2], [float("nan")]]}, "rounds.1.0: "),
        ({"rounds": [[1, 2], []]}, "rounds.1: "),
        ({"rounds": [[1, 2]]}, "rounds: "),
        ({"stopped_by": "luck"}, "stopped_by: "),
        ({"peak_rss_bytes": "much"}, "peak_rss_bytes: "),
        ({"more": 1}, "more: "),
    ],
)
def test_results_that_cannot_be_true_are_refused(changes: dict[str, Any], message: str) -> None:
    raw = {"groups": [[raw_model(**changes)]], "tegrastats": []}
    with pytest.raises(ResultError, match=rf"what b sent back is damaged: groups.0.0.{message}"):
        read_result(raw, "b")


def test_energy_is_the_boards_power_during_the_models_rounds() -> None:
    lines = [[when, TEGRASTATS.format(4000)] for when in range(0, 101, 20)]
    lines += [[when, TEGRASTATS.format(9000)] for when in range(110, 200, 20)]
    lines += [[when, TEGRASTATS.format(6000)] for when in range(200, 301, 20)]
    result = read_result({"groups": [[raw_model()]], "tegrastats": lines}, "b")
    samples, notes = power_samples(result)
    assert notes == []
    ((model,),) = result.groups
    # 5 W on average for 3 ms a call, two images a call.
    assert energy_mj(model, 2, samples) == pytest.approx(7.5)
    assert energy_mj(model, 2, samples[:8]) is None
    found = summary([sample for _, sample in samples])
    assert found is not None
    assert (found["samples"], found["gpu_percent_max"], found["gpu_mhz_max"]) == (17, 50, 305)
    assert found["temperatures_c_max"] == {"gpu": 45.0}
    assert summary([]) is None
    assert np.isclose(model.recording().samples.mean(), 3.0)


def test_energy_of_a_board_whose_rails_are_not_known_is_null() -> None:
    line = "RAM 1905/7620MB VDD_GPU 100/100\n"
    lines = [[when, line] for when in range(0, 301, 5)]
    result = read_result({"groups": [[raw_model()]], "tegrastats": lines}, "b")
    assert energy_mj(result.groups[0][0], 1, power_samples(result)[0]) is None


def test_what_other_programs_print_in_a_new_way_does_not_cost_the_samples() -> None:
    lines = [[0, TEGRASTATS.format(4000)], [1, "something new\n"], [2, "and more\n"]]
    raw = {"groups": [[raw_model(log="something new", command=["trtexec"])]], "tegrastats": lines}
    result = read_result(raw, "b")
    samples, notes = power_samples(result)
    assert len(samples) == 1
    assert notes[0].startswith("2 lines of tegrastats are left out: 'something new'")
    runs, notes = read_logs(result.groups[0])
    assert (runs, notes) == ([None], ["the trtexec log holds no latency"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "board", "--estimate"], "--host measures, --estimate does not"),
        (["--host", "board", "--scenario", "paced"], "the scenario 'latency' alone"),
        (["--host", "board", "--images", "."], "--images is for what is measured here"),
        (["--host", "board", "--precision-target", "1"], "precision-target '1' is not accepted"),
        (["--host", "board", "--max-time", "1"], "max-time 1 is not accepted"),
        (["--host", "board", "--runtime", "torch"], "unknown runtime on a far machine"),
        (["--host", "board", "--ssh-config", "none"], "ssh-config 'none' does not exist"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "net.onnx", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_agent_is_in_the_package() -> None:
    assert Path(agent.__file__).name == "agent.py"


def test_models_for_a_board_of_old_are_written_in_an_older_opset() -> None:
    def opset(device: str, runtime: str = "tensorrt") -> int | None:
        return Settings(runtime=runtime, device=device).opset

    boards = ("jetson-nano", "jetson-tx2", "jetson-xavier-nx", "jetson-agx-xavier")
    assert [opset(device) for device in boards] == [13] * 4
    assert [opset(device) for device in ("jetson-orin-nano", "cuda", "generic-cuda")] == [None] * 3
    assert opset("jetson-nano", "onnxruntime") is None
