"""Fine-tuning on the source domains, and accuracy on the domain that was held out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeprune.training.settings import FinetuneSettings

if TYPE_CHECKING:
    from edgeprune.training.evaluation import evaluate
    from edgeprune.training.finetuning import finetune
    from edgeprune.training.held_out import choose_split
    from edgeprune.training.onnx_model import OnnxModel, open_onnx

__all__ = ["FinetuneSettings", "OnnxModel", "choose_split", "evaluate", "finetune", "open_onnx"]

# On first use: a sweep reads settings and recipes before it loads torch.
_LATE = {
    "OnnxModel": "onnx_model",
    "choose_split": "held_out",
    "evaluate": "evaluation",
    "finetune": "finetuning",
    "open_onnx": "onnx_model",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(f"edgeprune.training.{_LATE[name]}"), name)
    raise AttributeError(f"module 'edgeprune.training' has no attribute {name!r}")
