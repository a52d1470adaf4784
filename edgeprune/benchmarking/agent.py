"""What runs on the far side of ``edgeprune bench --host``: this one file, copied there each time.

Python 3.8 or newer, the standard library, numpy and the runtime; nothing of edgeprune. It returns
raw samples and raw facts: every figure is computed on the workstation, by the code that computes
the local ones. Four kinds of process, all of them this file:

- ``front``: one per ssh connection. Requests on stdin, replies and events on stdout, one JSON
  document per line. Ends with its connection; nothing else does.
- ``guard``: detached, owns the private folder. Starts the measuring when the job is there, and
  removes the folder with all processes when it is told to or when no workstation has given a sign
  of life for the lease.
- ``measure``: warms the models up and measures them in interleaved rounds, by the rules in the job.
- ``worker``: holds one model and times it; the others sleep meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable

PROTOCOL = 1
PREFIX = "edgeprune-agent-"
FULL = (errno.ENOSPC, errno.EDQUOT)
# How often a process looks whether something has happened: rarely, since it does so on the machine
# that is measured.
TICK_S = 0.5
START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 20.0
CHUNK_BYTES = 1 << 20
# A folder without a guard that is younger than this may be about to get one.
ORPHAN_AGE_S = 60.0
LOG_CHARS = 60_000

# See edgeprune/benchmarking/worker.py: threads that spin after a call must come to rest.
IDLE_POLL_S = 0.02
IDLE_SHARE = 0.1
IDLE_LIMIT_S = 3.0

FILES = (
    "proc/cpuinfo",
    "proc/self/cgroup",
    "proc/meminfo",
    "proc/loadavg",
    "proc/device-tree/model",
    "proc/device-tree/compatible",
    "etc/nv_tegra_release",
    "etc/nvpmodel.conf",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
    "sys/firmware/acpi/platform_profile",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us",
)
COMMANDS = {
    "lscpu": ["lscpu"],
    "nvpmodel": ["nvpmodel", "-q"],
    "jetson_clocks": ["jetson_clocks", "--show"],
    "nvidia_smi": [
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version,compute_cap",
        "--format=csv,noheader,nounits",
    ],
}
# A shell without a login may lack the folders of the administrator's commands.
MORE_PATH = ("/usr/sbin", "/sbin", "/usr/local/bin")
TRTEXEC_PLACES = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
TEGRASTATS_INTERVAL_MS = 100

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# From this version on, ONNX Runtime can be told not to fall back to the CPU.
NO_FALLBACK_SINCE = (1, 15)

# Of the bootstrap that decides when to stop, which has to be surer than the one that counts.
RESAMPLES = 400
CAUTION = 0.8


class AgentError(Exception):
    """What the workstation raises: ``kind`` is a class of edgeprune.errors."""

    def __init__(self, kind: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.document = {"error": kind, "message": message, "hint": hint}


# ---- files ----------------------------------------------------------------------------------


def read_text(path: Path) -> str | None:
    """Return the text of a file, None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def write_json(path: Path, document: Any) -> None:
    """Write a document so that a reader sees all of it or nothing."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document), encoding="utf-8")
    part.replace(path)


def disk_error(folder: Path, error: OSError) -> AgentError:
    """Return what to say about an OSError that was met while writing into ``folder``."""
    where = str(folder.parent)
    if error.errno not in FULL:
        return AgentError("OutputError", f"{where!r} there cannot be written: {error.strerror}")
    free = shutil.disk_usage(where).free / 1e6
    return AgentError(
        "DiskFullError",
        f"no space left there in {where!r}: {free:.1f} MB are free",
        "TMPDIR in the environment of the login there names another place",
    )


# ---- facts ----------------------------------------------------------------------------------


def facts() -> dict[str, Any]:
    """Return what is known of this machine, as raw text where the workstation can read it."""
    return {
        "files": {name: read_text(Path("/", name)) for name in FILES},
        "commands": {name: output_of(words) for name, words in COMMANDS.items()},
        "runtimes": runtimes(),
        "trtexec": find_trtexec(),
        "tegrastats": find_command("tegrastats") is not None,
        "cores": os.cpu_count(),
        "available_cores": len(os.sched_getaffinity(0)),
        "busy_cores": busy_cores(),
        "machine": platform.machine(),
        "processor": platform.processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def find_command(name: str) -> str | None:
    """Return where a command lies, None if it is not here."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=os.pathsep.join([path, *MORE_PATH]))


def find_trtexec() -> str | None:
    """Return where trtexec lies: $TRTEXEC, the PATH, or where NVIDIA's packages put it."""
    for place in (os.environ.get("TRTEXEC"), find_command("trtexec"), *TRTEXEC_PLACES):
        if place and os.access(place, os.X_OK):
            return place
    return None


def output_of(words: list[str]) -> str | None:
    """Return what a command prints; None if it is not here, fails or does not end."""
    program = find_command(words[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_S,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")


def scratch_in(folder: str) -> dict[str, str]:
    """Return an environment whose programs leave what they leave in ``folder``."""
    return {**os.environ, "TMPDIR": folder}


PROBE = (
    "import json, numpy, onnxruntime; print(json.dumps({'numpy': numpy.__version__,"
    " 'onnxruntime': onnxruntime.__version__}))"
)


def runtimes() -> dict[str, Any]:
    """Import numpy and ONNX Runtime in a process of its own; say their versions, or what fails."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as scratch:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=scratch,
            env=scratch_in(scratch),
        )
    if done.returncode == 0:
        return {"versions": json.loads(done.stdout.decode().splitlines()[-1]), "problem": None}
    lines = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
    return {"versions": {}, "problem": (lines or [f"exit code {done.returncode}"])[-1]}


def busy_cores(window_s: float = 0.5) -> float | None:
    """Return how many cores were busy while this process slept for a moment; None if unknown."""

    def ticks() -> list[int]:
        line = (read_text(Path("/proc/stat")) or "").partition("\n")[0].split()[1:9]
        return [int(word) for word in line]

    before = ticks()
    time.sleep(window_s)
    passed = [late - early for early, late in zip(before, ticks())]
    if sum(passed) <= 0:
        return None
    idle = sum(passed[3:5])
    return round((1 - idle / sum(passed)) * (os.cpu_count() or 1), 2)


# ---- worker: one model ----------------------------------------------------------------------


def timed_calls(call: Callable[[], object], seconds: float) -> list[int]:
    """Call until ``seconds`` have passed, at least once; return each call's nanoseconds."""
    samples = []
    deadline = time.perf_counter_ns() + int(seconds * 1e9)
    while True:
        start = time.perf_counter_ns()
        call()
        end = time.perf_counter_ns()
        samples.append(end - start)
        if end >= deadline:
            return samples


def wait_until_idle() -> bool:
    """Sleep until no thread of this process computes any more; False if one still does."""
    deadline = time.monotonic() + IDLE_LIMIT_S
    while time.monotonic() < deadline:
        used, start = time.process_time(), time.perf_counter()
        time.sleep(IDLE_POLL_S)
        if time.process_time() - used < IDLE_SHARE * (time.perf_counter() - start):
            return True
    return False


def peak_rss_bytes() -> int | None:
    """Return the largest resident set of this process so far; None where not told."""
    for line in (read_text(Path("/proc/self/status")) or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def load_onnx(task: dict[str, Any]) -> Callable[[], object]:
    """Load an ONNX file on the device that was asked for, run it once, return the call."""
    import onnxruntime

    name, device = task["name"], task["device"]
    onnxruntime.set_default_logger_severity(4)
    options = session_options(onnxruntime, device, task["threads"])
    try:
        session = onnxruntime.InferenceSession(task["path"], options, providers=[PROVIDERS[device]])
    except Exception as error:
        kind = "ModelError" if device == "cpu" else "UnavailableError"
        raise AgentError(
            kind, f"ONNX Runtime there cannot load {name!r}: {brief(error)}"
        ) from error
    if session.get_providers()[0] != PROVIDERS[device]:
        raise AgentError("UnavailableError", f"ONNX Runtime could not start {device} there")
    call = onnx_call(onnxruntime, session, task["input"], device, task["seed"])
    try:
        call()
    except Exception as error:
        raise AgentError(
            "ModelError", f"{name!r} fails in ONNX Runtime there: {brief(error)}"
        ) from error
    return call


def session_options(onnxruntime: Any, device: str, threads: int) -> Any:
    """Return the options of a session that stays on its device."""
    offered = onnxruntime.get_available_providers()
    if PROVIDERS[device] not in offered:
        raise AgentError(
            "UnavailableError",
            f"ONNX Runtime has no {device} there: that build offers {', '.join(offered)}",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    if device != "cpu":
        version = onnxruntime.__version__
        if tuple(int(part) for part in version.split(".")[:2]) < NO_FALLBACK_SINCE:
            raise AgentError(
                "UnavailableError",
                f"ONNX Runtime {version} there would fall back to the CPU without a word;"
                " 1.15 and newer can be told not to",
            )
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def onnx_call(
    onnxruntime: Any, session: Any, wanted: dict[str, Any], device: str, seed: int
) -> Callable[[], object]:
    """Return a call of one batch of random images; on a GPU all data stay there."""
    import numpy

    name, generator = wanted["name"], numpy.random.default_rng(seed)
    images: Any
    try:
        if wanted["dtype"] == "uint8":
            images = generator.integers(0, 256, wanted["shape"], dtype=numpy.uint8)
        else:
            images = generator.standard_normal(wanted["shape"], dtype=numpy.float32)
            images = images.astype(wanted["dtype"])
    except (MemoryError, OverflowError, ValueError) as error:
        raise AgentError(
            "UsageError",
            f"batch {wanted['shape'][0]} is not accepted: there is no memory for images of shape"
            f" {wanted['shape']} there",
        ) from error
    if device == "cpu":
        return lambda: session.run(None, {name: images})
    binding = session.io_binding()
    binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(images, device, 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, device)

    def call() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return call


def brief(error: object) -> str:
    """Return a message as one line of bounded length."""
    return " ".join(str(error).split())[:300]


def worker() -> None:
    """Answer requests on stdin until it ends; what libraries print goes to stderr."""
    channel = os.dup(1)
    os.dup2(2, 1)
    call: Callable[[], object] = int
    with os.fdopen(channel, "w") as replies:
        for line in sys.stdin:
            request = json.loads(line)
            try:
                if request["do"] == "load":
                    call = load_onnx(request["task"])
                    gc.collect()
                    gc.freeze()
                    wait_until_idle()
                    reply: dict[str, Any] = {}
                elif request["do"] == "round":
                    gc.disable()
                    lead_in_s = request["lead_in_s"]
                    lead_in = timed_calls(call, lead_in_s) if lead_in_s > 0 else []
                    samples = timed_calls(call, request["seconds"])
                    gc.enable()
                    reply = {"samples_ns": samples, "lead_in": len(lead_in)}
                    reply["idle"] = wait_until_idle() if request["rest"] else True
                else:
                    reply = {"rss_bytes": peak_rss_bytes()}
            except AgentError as error:
                reply = error.document
            replies.write(json.dumps(reply) + "\n")
            replies.flush()


class OnnxWorker:
    """A worker process with one ONNX model."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.process = subprocess.Popen(
            [sys.executable, __file__, "worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**scratch_in(str(Path(task["path"]).parent)), **task["environment"]},
            universal_newlines=True,
        )

    def load(self) -> None:
        """Load the model and run it once."""
        self._ask({"do": "load", "task": self.task})

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> dict[str, Any]:
        """Run unrecorded calls, then timed ones; with ``rest`` wait until threads do no more."""
        start = time.monotonic()
        reply = self._ask({"do": "round", "seconds": seconds, "lead_in_s": lead_in_s, "rest": rest})
        reply["beside_s"] = time.monotonic() - start - sum(reply["samples_ns"]) / 1e9
        return reply

    def facts(self) -> dict[str, Any]:
        """Return the peak memory."""
        return {"peak_rss_bytes": self._ask({"do": "memory"})["rss_bytes"]}

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            raise AgentError(
                "UnavailableError",
                f"the process that measured {self.task['name']!r} died there ({ending(code)})",
                "the machine may be out of memory" if code == -signal.SIGKILL else None,
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise AgentError(reply["error"], reply["message"], reply["hint"])
        return reply


class TrtexecWorker:
    """TensorRT through trtexec: an engine built once, then one run of trtexec per round."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.engine = Path(task["path"])
        self.log = ""
        self.command: list[str] = []

    def load(self) -> None:
        """Build the engine of an ONNX file."""
        if not self.task["build"]:
            return
        self.engine = self.engine.parent / self.task["build"]
        self._run(
            [f"--onnx={self.task['path']}", f"--saveEngine={self.engine}", *self.task["flags"]],
            ["--iterations=1", "--duration=0", "--warmUp=0"],
        )

    def round(self, seconds: float, lead_in_s: float, rest: bool = True) -> dict[str, Any]:
        """Run trtexec, which warms up for ``lead_in_s`` and ends; return its compute times."""
        times = self.engine.with_suffix(".times.json")
        warm_ms = round(lead_in_s * 1000)
        self._run(
            [f"--loadEngine={self.engine}"],
            [
                f"--exportTimes={times}",
                f"--duration={max(1, round(seconds))}",
                f"--warmUp={warm_ms}",
                "--iterations=10",
                "--noDataTransfers",
                "--useSpinWait",
            ],
        )
        # Older versions, such as 8.4, export the queries of the warm-up too.
        queries = [
            query for query in json.loads(times.read_text()) if query["startComputeMs"] >= warm_ms
        ]
        times.unlink()
        samples = [round(float(query["computeMs"]) * 1e6) for query in queries]
        return {"samples_ns": samples, "lead_in": 0, "idle": True, "beside_s": 0.0}

    def facts(self) -> dict[str, Any]:
        """Return the last log and command line, for the workstation to read."""
        return {"peak_rss_bytes": None, "log": self.log, "command": self.command}

    def close(self) -> None:
        """Do nothing: no process outlives its round."""

    def _run(self, what: list[str], how: list[str]) -> None:
        self.command = [self.task["trtexec"], *what, *self.task["shapes"], *how]
        done = subprocess.run(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=scratch_in(str(self.engine.parent)),
        )
        self.log = done.stdout.decode("utf-8", errors="replace")[-LOG_CHARS:]
        if done.returncode != 0:
            problems = [brief(line) for line in self.log.splitlines() if "[E]" in line]
            why = problems[0] if problems else ending(done.returncode)
            raise AgentError("ModelError", f"trtexec there fails with {self.task['name']!r}: {why}")


def ending(code: int) -> str:
    """Say how a process ended."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


# ---- measure: rounds ------------------------------------------------------------------------


def measure_group(
    workers: list[Any],
    rules: dict[str, float],
    stop: dict[str, Any],
    order: random.Random,
    say: Callable[[float], object] = lambda share: None,
) -> list[dict[str, Any]]:
    """Warm all workers up, then measure them in rounds; as edgeprune/benchmarking/rounds.py does.

    ``stop`` says when it is enough, ``order`` shuffles, ``say`` is told the share that is done.
    """
    nothing = {"calls": 0, "call_s": 0.0, "beside_s": 0.0, "spent_s": 0.0, "stop": None}
    warmups: list[dict[str, Any]] = [{**nothing, "rates": []} for _ in workers]
    alone = len(workers) == 1
    for worker_, state in zip(workers, warmups):
        lead_in_s = 0.0
        while state["stop"] is None:
            may_be_last = len(state["rates"]) >= rules["windows"] - 1
            lead_in_s = lead_in_for(state, rules, alone or bool(state["rates"]))
            window = worker_.round(rules["window_s"], lead_in_s, rest=may_be_last and not alone)
            take_note(window, state, rules)
        state["beside_s"] += lead_in_for(state, rules, alone) - lead_in_s
    turns = Turns(workers, warmups, rules, order)
    turn_s = shortest_turn(warmups, rules)
    seconds, target = stop["min_time_s"], stop["precision"]
    count = int(min(max(seconds / turn_s, rules["min_rounds"]), rules["max_rounds"]))
    share = seconds / stop["max_time_s"] if target is not None else 1.0
    for number in range(count):
        turns.take(seconds / count)
        say(share * (number + 1) / count)
    stopped_by = "min_time"
    if target is not None:
        stopped_by = until_precise(turns, rules, stop, turn_s, say)
    return [{**entry, "stopped_by": stopped_by} for entry in turns.found]


def lead_in_for(state: dict[str, Any], rules: dict[str, float], warm: bool) -> float:
    """Return the seconds of calls that are not recorded before those of a turn that are."""
    if rules["anew"] or (not warm and state["call_s"] < rules["lead_in_s"]):
        return rules["lead_in_s"]
    return 0.0


def shortest_turn(warmups: list[dict[str, Any]], rules: dict[str, float]) -> float:
    """Return the seconds of a turn that holds a call of every model, and outweighs its own cost."""
    slowest_s = max(state["call_s"] for state in warmups)
    beside_s = max(state["beside_s"] for state in warmups)
    turn_s: float = max(rules["round_s"], slowest_s, beside_s / rules["beside_share"])
    return turn_s


class Turns:
    """Rounds of all workers, in an order that is drawn anew each time."""

    def __init__(
        self,
        workers: list[Any],
        warmups: list[dict[str, Any]],
        rules: dict[str, float],
        order: random.Random,
    ) -> None:
        self.workers, self.rules, self.random = workers, rules, order
        self.order = self.draw()
        self.before = len(workers) - 1  # the last to warm up
        self.found: list[dict[str, Any]] = [
            {"rounds": [], "spans_ns": [], "restless": 0, "warmup": state} for state in warmups
        ]

    def take(self, seconds: float) -> None:
        """Measure every worker once; one that also had the last turn is warm, and need not rest."""
        order, self.order = self.order, self.draw()
        for index, after in zip(order, [*order[1:], self.order[0]]):
            entry = self.found[index]
            lead_in_s = lead_in_for(entry["warmup"], self.rules, index == self.before)
            start = time.monotonic_ns()
            timed = self.workers[index].round(seconds, lead_in_s, rest=index != after)
            entry["rounds"].append(timed["samples_ns"])
            entry["spans_ns"].append([start, time.monotonic_ns()])
            entry["restless"] += not timed["idle"]
            self.before = index

    def draw(self) -> list[int]:
        """Return the order of the next round."""
        return self.random.sample(range(len(self.workers)), len(self.workers))


def until_precise(
    turns: Turns,
    rules: dict[str, float],
    stop: dict[str, Any],
    turn_s: float,
    say: Callable[[float], object],
) -> str:
    """Take more rounds until every median is precise enough, or the time is over; say which."""

    def precise() -> bool:
        limit = CAUTION * stop["precision"]
        return all(half_width(entry["rounds"]) <= limit for entry in turns.found)

    if precise():
        return "precision"
    left_s = stop["max_time_s"] - stop["min_time_s"]
    most = min(int(left_s / turn_s), int(rules["max_more_rounds"]))
    first = turns.found[0]["rounds"]
    look_at = rules["look_again"] * len(first)
    for number in range(most):
        turns.take(left_s / most)
        say((stop["min_time_s"] + left_s * (number + 1) / most) / stop["max_time_s"])
        if len(first) >= look_at:
            if precise():
                return "precision"
            look_at = rules["look_again"] * len(first)
    return "precision" if most and precise() else "max_time"


def half_width(rounds: list[list[int]]) -> float:
    """Return the half width of a 95 % interval on the median of the rounds' medians, relative.

    A bootstrap over rounds. Only for stopping: the interval that is reported is computed on the
    workstation, from all calls.
    """
    medians = [statistics.median(samples) for samples in rounds]
    draw = random.Random(0)
    drawn = sorted(
        statistics.median(draw.choices(medians, k=len(medians))) for _ in range(RESAMPLES)
    )
    low, high = drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES)]
    return float(high - low) / 2 / statistics.median(medians)


def take_note(window: dict[str, Any], state: dict[str, Any], rules: dict[str, float]) -> None:
    """Add a window of the warm-up, and decide whether the rate has settled."""
    seconds = sum(window["samples_ns"]) / 1e9
    state["spent_s"] += seconds
    state["calls"] += len(window["samples_ns"]) + window["lead_in"]
    state["call_s"] = statistics.median(window["samples_ns"]) / 1e9
    state["beside_s"] = window["beside_s"]
    state["rates"].append(len(window["samples_ns"]) / seconds)
    last = state["rates"][-int(rules["windows"]) :]
    if len(last) == rules["windows"] and max(last) <= (1 + rules["tolerance"]) * min(last):
        state["stop"] = "stable"
    elif state["spent_s"] >= rules["cap_s"]:
        state["stop"] = "cap"


class Tegrastats:
    """The lines of tegrastats with the time at which each came; none where it is not here."""

    def __init__(self) -> None:
        self.lines: list[list[Any]] = []
        self.process: subprocess.Popen[bytes] | None = None
        program = find_command("tegrastats")
        if program is not None:
            self.process = subprocess.Popen(
                [program, "--interval", str(TEGRASTATS_INTERVAL_MS)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            threading.Thread(target=self._collect, args=(self.process.stdout,), daemon=True).start()

    def _collect(self, stream: Any) -> None:
        for line in stream:
            if line.endswith(b"\n"):  # the last one may be cut off
                self.lines.append([time.monotonic_ns(), line.decode("utf-8", errors="replace")])

    def close(self) -> None:
        """End the program."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def measure(folder: Path) -> None:
    """Do the job in ``folder`` and write ``result.json``: samples, or what is wrong."""
    job = json.loads((folder / "job.json").read_text())
    result: dict[str, Any]
    stats = Tegrastats()
    try:
        result = {"groups": do_groups(folder, job), "tegrastats": stats.lines}
    except AgentError as error:
        result = error.document
    except OSError as error:
        if error.errno not in FULL:
            raise
        result = disk_error(folder, error).document
    finally:
        stats.close()
    for model in folder.glob("model-*"):  # makes room for the result
        shutil.rmtree(model, ignore_errors=True)
    write_json(folder / "result.json", result)


def do_groups(folder: Path, job: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Measure one group of models after the other, and note the share that is done."""
    guard_pid, order = os.getppid(), random.Random(job["seed"])
    told = time.monotonic()
    groups: list[list[dict[str, Any]]] = []

    def say(share: float) -> None:
        nonlocal told
        if os.getppid() != guard_pid:
            sys.exit("the guard has gone")
        if time.monotonic() - told > 1:
            told = time.monotonic()
            done = (len(groups) + share) / len(job["groups"])
            write_json(folder / "progress.json", {"done": done})

    for tasks in job["groups"]:
        groups.append(do_group(folder, tasks, job, order, say))
    return groups


def do_group(
    folder: Path,
    tasks: list[dict[str, Any]],
    job: dict[str, Any],
    order: random.Random,
    say: Callable[[float], object],
) -> list[dict[str, Any]]:
    """Measure the models of one batch size; all workers end with it."""
    kinds: dict[str, Any] = {"onnxruntime": OnnxWorker, "tensorrt": TrtexecWorker}
    workers: list[Any] = []
    try:
        for task in tasks:
            path = folder / task["file"]
            check_digest(path, task)
            task = {**task, "path": str(path)}
            workers.append(kinds[job["runtime"]](task))
        for loading in workers:  # one after the other: loading is heavy
            loading.load()
        found = measure_group(workers, job["rules"], job["stop"], order, say)
        return [{**entry, **worker_.facts()} for entry, worker_ in zip(found, workers)]
    finally:
        for started in workers:
            started.close()


def check_digest(path: Path, task: dict[str, Any]) -> None:
    """Check that a file arrived whole."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    if digest.hexdigest() != task["sha256"]:
        raise AgentError("UnavailableError", f"{task['name']!r} arrived there damaged")


# ---- guard: owns the folder -----------------------------------------------------------------


def guard(folder: Path, lease_s: float) -> None:
    """Start the measuring when the job is there; at the end remove all of it."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / "guarded").touch()
        child: subprocess.Popen[bytes] | None = None
        lease = Lease(folder / "beat", lease_s)
        try:
            while folder.is_dir() and not (folder / "end").exists() and not lease.is_over():
                if child is None and (folder / "job.json").exists():
                    child = detached("measure", folder)
                ended = child is not None and child.poll() is not None
                if child is not None and ended and not (folder / "result.json").exists():
                    write_json(folder / "result.json", death(folder, child.returncode))
                time.sleep(TICK_S)
        finally:
            if child is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            shutil.rmtree(folder, ignore_errors=True)


class Lease:
    """Is over when a file has not been touched for so long."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path = path
        self.seconds = seconds
        self.stamp: int | None = None
        self.since = time.monotonic()

    def is_over(self) -> bool:
        """Look again. A change of the stamp counts, not its value: clocks of boards jump."""
        try:
            stamp = self.path.stat().st_mtime_ns
        except OSError:
            stamp = None
        if stamp != self.stamp:
            self.stamp, self.since = stamp, time.monotonic()
        return time.monotonic() - self.since > self.seconds


def detached(what: str, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start this file as a process in a session of its own, with a log in the folder."""
    with (folder / f"{what}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(folder / "agent.py"), what, str(folder), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=str(folder),
        )


def death(folder: Path, code: int) -> dict[str, Any]:
    """Return the error for a measuring process that ended without a result."""
    last = last_line(folder / "measure.log")
    why = f"the measuring process died there ({ending(code)}){last}"
    return AgentError("UnavailableError", why).document


def last_line(log: Path) -> str:
    """Return the last line of a log as the end of a sentence."""
    lines = (read_text(log) or "").strip().splitlines()
    return ": " + brief(lines[-1]) if lines else ""


def is_guarded(folder: Path) -> bool:
    """Tell whether a guard holds the lock of a folder."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def left_over() -> list[str]:
    """Return folders of earlier runs of this user that nobody guards any more."""
    found = []
    for path in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            status = path.lstat()
        except OSError:
            continue
        old = time.time() - status.st_mtime > ORPHAN_AGE_S
        if status.st_uid == os.getuid() and old and not is_guarded(path):
            found.append(str(path))
    return sorted(found)


# ---- front: speaks with the workstation -----------------------------------------------------


class Front:
    """One connection: answers requests in order, and reports what happens in the folder."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        # Replaced by the private folder in it.
        self.folder = Path(tempfile.gettempdir(), "nothing")
        self.writing = threading.Lock()

    def serve(self) -> None:
        """Answer until the connection ends."""
        self.send({"agent": PROTOCOL})
        for line in sys.stdin.buffer:
            request = json.loads(line.decode("utf-8"))
            try:
                reply = getattr(self, "do_" + request["do"])(request)
            except AgentError as error:
                reply = error.document
            except OSError as error:
                if error.errno not in FULL:
                    raise
                reply = disk_error(self.folder, error).document
            if reply is not None:
                self.send({"re": request["do"], **reply})

    def send(self, document: dict[str, Any]) -> None:
        """Write one line."""
        with self.writing:
            sys.stdout.write(json.dumps(document) + "\n")
            sys.stdout.flush()

    def do_facts(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say what this machine is, and what earlier runs have left."""
        return {"facts": facts(), "left": left_over()}

    def do_open(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the private folder and start its guard."""
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            (self.folder / "agent.py").write_bytes(self.source)
            (self.folder / "beat").touch()
            guard_ = detached("guard", self.folder, str(request["lease_s"]))
            deadline = time.monotonic() + START_TIMEOUT_S
            while not (self.folder / "guarded").exists() and time.monotonic() < deadline:
                if guard_.poll() is not None:
                    raise OSError(errno.EIO, "no guard" + last_line(self.folder / "guard.log"))
                time.sleep(TICK_S / 10)
        except OSError as error:
            problem = disk_error(self.folder, error)
            shutil.rmtree(self.folder, ignore_errors=True)
            raise problem from error
        return {"folder": str(self.folder)}

    def do_attach(self, request: dict[str, Any]) -> dict[str, Any]:
        """Go on with the folder of a connection that was lost."""
        self.folder = Path(request["folder"])
        if not is_guarded(self.folder):
            raise AgentError("UnavailableError", "the run has ended there, and was removed")
        self.do_beat(request)
        return {}

    def do_beat(self, request: dict[str, Any]) -> None:
        """Tell the guard that the workstation is alive."""
        with contextlib.suppress(OSError):  # the guard sees what has become of the folder
            (self.folder / "beat").touch()

    def do_file(self, request: dict[str, Any]) -> dict[str, Any]:
        """Receive a file into the folder of its model."""
        path = self.folder / request["folder"] / request["name"]
        stdin, left = sys.stdin.buffer, request["bytes"]
        beaten = time.monotonic()
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as stream:
                while left:
                    chunk = stdin.read(min(left, CHUNK_BYTES))
                    if not chunk:
                        sys.exit()  # the connection has ended
                    left -= len(chunk)
                    stream.write(chunk)
                    if time.monotonic() - beaten > TICK_S:
                        beaten = time.monotonic()
                        self.do_beat(request)
        except OSError as error:
            problem = disk_error(self.folder, error)
            while left:  # what is under way has to be read before the next request
                left -= len(stdin.read(min(left, CHUNK_BYTES))) or left
            raise problem from error
        return {}

    def do_measure(self, request: dict[str, Any]) -> dict[str, Any]:
        """Hand the job over; asked again after a lost connection, it only reports."""
        if not (self.folder / "job.json").exists():
            write_json(self.folder / "job.json", request["job"])
        threading.Thread(target=self.watch, daemon=True).start()
        return {}

    def do_end(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have the guard end everything, and wait until the folder is gone."""
        if request.get("folder"):
            self.folder = Path(request["folder"])
        if not self.folder.name.startswith(PREFIX):
            return {}
        with contextlib.suppress(OSError):  # a full disk, or gone already
            (self.folder / "end").touch()
        deadline = time.monotonic() + END_TIMEOUT_S
        while self.folder.exists() and time.monotonic() < deadline:
            if not (is_guarded(self.folder) and (self.folder / "end").exists()):
                shutil.rmtree(self.folder, ignore_errors=True)
            time.sleep(TICK_S / 10)
        return {}

    def watch(self) -> None:
        """Report progress, then the result."""
        told = None
        while True:
            guarded = is_guarded(self.folder)  # looked at first: it may end in between
            result = read_text(self.folder / "result.json")
            if result is not None:
                self.send({"event": "result", "result": json.loads(result)})
                return
            if not guarded:
                gone = AgentError("UnavailableError", "the guard of the run was ended there")
                self.send({"event": "result", "result": gone.document})
                return
            share = read_text(self.folder / "progress.json")
            if share is not None and share != told:
                told = share
                self.send({"event": "progress", **json.loads(share)})
            time.sleep(TICK_S)


def front(source: bytes) -> None:
    """Serve one connection; ``source`` is the text of this file."""
    Front(source).serve()


def main(words: list[str]) -> None:
    """Run one of the processes that are started by name."""
    if words[0] == "guard":
        guard(Path(words[1]), float(words[2]))
    elif words[0] == "measure":
        measure(Path(words[1]))
    else:
        worker()


if __name__ == "__main__":
    main(sys.argv[1:])
