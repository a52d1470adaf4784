"""Fine-tuning on the source domains, and accuracy on the domain that was held out."""

from edgeprune.training.evaluation import evaluate
from edgeprune.training.finetuning import finetune
from edgeprune.training.held_out import choose_split
from edgeprune.training.onnx_model import OnnxModel, open_onnx
from edgeprune.training.settings import FinetuneSettings

__all__ = ["FinetuneSettings", "OnnxModel", "choose_split", "evaluate", "finetune", "open_onnx"]
