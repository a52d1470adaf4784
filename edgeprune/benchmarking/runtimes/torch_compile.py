"""PyTorch with ``torch.compile``. Runs in the measuring process.

The whole model is compiled as one graph, for one batch size, with the default backend (Inductor,
which needs a C++ compiler on the CPU). What cannot be is an error: by itself torch would run the
rest in eager mode.
"""

from __future__ import annotations

from edgeprune.benchmarking.runtimes import torch as eager
from edgeprune.benchmarking.runtimes.base import Job
from edgeprune.errors import UnavailableError

FORMAT = "model"
PACKAGES = eager.PACKAGES


def load(job: Job) -> eager.TorchSession:
    """Load a model as for eager mode, compile it, and see that it was.

    Raises:
        ArtifactError, ModelError: as in eager mode.
        UnavailableError: if torch cannot compile the model here, or does not.
    """
    session = eager.load(job)
    compile_session(session, job.name)
    return session


def compile_session(session: eager.TorchSession, name: str) -> None:
    """Compile the module of a session, and see that its next run was compiled.

    Raises:
        UnavailableError: if torch cannot compile it here, or does not.
    """
    import torch
    import torch._dynamo

    torch._dynamo.utils.counters.clear()
    session.module = torch.compile(session.module, fullgraph=True, dynamic=False)
    try:
        session.run()
    except Exception as error:  # of dynamo, of the backend or of the C++ compiler
        reason = " ".join(str(error).split())[:300]
        raise UnavailableError(f"torch.compile cannot compile {name!r} here: {reason}") from error
    if torch._dynamo.utils.counters["stats"]["unique_graphs"] != 1:
        raise UnavailableError(
            f"torch.compile ran {name!r} without compiling it; is it switched off"
            " (TORCHDYNAMO_DISABLE, TORCH_COMPILE_DISABLE)?"
        )
