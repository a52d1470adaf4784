"""What a teacher said to each batch, kept in a file for the next student of the same batches.

The batches of a run are a pure function of data, seed and step, so that all students of one
teacher, as a sweep has them, hear the same: the teacher then answers each batch once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from edgeprune.artifact import read_tensors
from edgeprune.errors import ArtifactError
from edgeprune.files import output_file

STEP = "step-"


class TeacherMemory:
    """Logits ``(batch, classes)`` by step, of one teacher and one stream of batches."""

    def __init__(self, directory: Path, identity: Mapping[str, Any]) -> None:
        """Open the memory of ``identity``: all that decides the batches and the answers."""
        text = json.dumps(identity, sort_keys=True)
        self.path = directory / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"
        self._known = self._read()
        self._new = False

    def recall(self, step: int) -> torch.Tensor | None:
        """Return what the teacher said at ``step``, on the CPU, if that is known."""
        return self._known.get(f"{STEP}{step}")

    def keep(self, step: int, logits: torch.Tensor) -> None:
        """Remember what the teacher said at ``step``."""
        self._known[f"{STEP}{step}"] = logits.detach().to("cpu", copy=True).contiguous()
        self._new = True

    def save(self) -> None:
        """Write what is new, beside what others wrote meanwhile. Raises OutputError."""
        if not self._new:
            return
        with output_file(self.path) as scratch:
            scratch.write_bytes(safetensors.torch.save({**self._read(), **self._known}))
        self._new = False

    def _read(self) -> dict[str, torch.Tensor]:
        if not self.path.exists():
            return {}
        try:
            return read_tensors(self.path)
        except ArtifactError:
            return {}  # a damaged memory is made anew: the answers are the same
