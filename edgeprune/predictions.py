"""What a model answered to every scored image, kept so that figures can be computed later.

``predictions.safetensors`` lies beside the weights of an artifact. For each domain it holds
``logits.DOMAIN`` float32 ``(n, classes)`` and, int64 ``(n,)``, ``labels.DOMAIN`` and two digests:
``images.DOMAIN`` of each image's place in the data set, and ``groups.DOMAIN`` of its group. By
these the answers of two models are paired image by image. Neither torch nor the images are needed
to read it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from safetensors import SafetensorError

from edgeprune.errors import ResultError
from edgeprune.files import output_file
from edgeprune.schema import Document, SplitFacts, parse_document

PREDICTIONS_FILE = "predictions.safetensors"
# One key: the order in which several would be written is not fixed.
METADATA_KEY = "edgeprune"

Logits = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class PredictionFacts(Document):
    """Which images were scored by which weights; ``fingerprint`` is that of the data set.

    ``target`` and ``targets`` as in :class:`edgeprune.schema.DGResult`.
    """

    SCHEMA: ClassVar[str] = "edgeprune/predictions@1"

    dataset: str
    fingerprint: str
    split: SplitFacts
    domains: list[str]
    target: str
    targets: list[str]
    class_names: list[str]
    weights_sha256: str | None

    @property
    def sources(self) -> list[str]:
        """The domains that were not held out."""
        return [name for name in self.domains if name not in self.targets]


@dataclass(frozen=True)
class Scored:
    """Answers on one domain: logits ``(n, classes)``, and ``(n,)`` each of the rest."""

    logits: Logits
    labels: Integers
    images: Integers
    groups: Integers

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the highest logit is that of the label, ``(n,)``."""
        return np.asarray(self.logits.argmax(axis=1) == self.labels)


@dataclass(frozen=True)
class Predictions:
    """Answers on every domain that was scored."""

    facts: PredictionFacts
    domains: Mapping[str, Scored]

    @property
    def targets(self) -> list[Scored]:
        """Answers on the domains that were held out."""
        return [self.domains[name] for name in self.facts.targets]


def digests(texts: Iterable[str]) -> Integers:
    """Return the first 8 bytes of the SHA-256 of every text, as int64 ``(n,)``."""
    raw = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    return np.frombuffer(raw, dtype="<i8").astype(np.int64)


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write the file atomically; the same answers give the same bytes.

    Raises:
        OutputError: if it cannot be written.
    """
    with output_file(path) as scratch:
        scratch.write_bytes(to_bytes(predictions))


def to_bytes(predictions: Predictions) -> bytes:
    """Return the contents of the file."""
    tensors = {
        f"{part}.{name}": np.ascontiguousarray(getattr(scored, part))
        for name, scored in predictions.domains.items()
        for part in ("logits", "labels", "images", "groups")
    }
    facts = json.dumps(predictions.facts.model_dump(mode="json", by_alias=True))
    return safetensors.numpy.save(tensors, metadata={METADATA_KEY: facts})


def read_predictions(path: Path) -> Predictions:
    """Read and check the file.

    Raises:
        ResultError: if it is missing or damaged, or its tensors do not fit together.
    """
    if not path.is_file():
        raise ResultError(f"{str(path)!r} does not exist; a file of predictions was expected")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:  # type: ignore[no-untyped-call]
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ResultError(f"{str(path)!r} is not a readable safetensors file: {error}") from None
    facts = _facts(metadata, path)
    domains = {name: _scored(name, tensors, facts, path) for name in facts.domains}
    if tensors:
        raise ResultError(f"{str(path)!r}: tensor {min(tensors)!r} belongs to no scored domain")
    return Predictions(facts, domains)


def _facts(metadata: Mapping[str, str], path: Path) -> PredictionFacts:
    try:
        raw = json.loads(metadata[METADATA_KEY])
    except KeyError:
        raise ResultError(
            f"{str(path)!r} holds no predictions: it has no metadata {METADATA_KEY!r}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{str(path)!r}: its metadata are damaged: {error}") from None
    facts = parse_document(raw, str(path), PredictionFacts, ResultError)
    unknown = [name for name in facts.targets if name not in facts.domains]
    if unknown or not facts.targets or not facts.class_names:
        raise ResultError(
            f"{str(path)!r}: its metadata are damaged: targets {facts.targets!r} of domains"
            f" {facts.domains!r}, {len(facts.class_names)} classes"
        )
    return facts


def _scored(name: str, tensors: dict[str, Any], facts: PredictionFacts, path: Path) -> Scored:
    """Take the four tensors of one domain out of ``tensors`` and check them."""
    classes = len(facts.class_names)
    logits = tensors.pop(f"logits.{name}", None)
    n = len(logits) if logits is not None and logits.ndim else 0
    found = {"logits": logits}
    found |= {part: tensors.pop(f"{part}.{name}", None) for part in ("labels", "images", "groups")}
    for part, tensor in found.items():
        dtype = np.dtype(np.float32 if part == "logits" else np.int64)
        shape = (n, classes) if part == "logits" else (n,)
        if tensor is None:
            raise ResultError(f"{str(path)!r}: tensor '{part}.{name}' is missing")
        if tensor.dtype != dtype or tensor.shape != shape or n == 0:
            raise ResultError(
                f"{str(path)!r}: tensor '{part}.{name}' is {tensor.dtype} {tensor.shape};"
                f" {dtype} {shape} with at least one image was expected"
            )
    if not np.isfinite(found["logits"]).all():
        raise ResultError(
            f"{str(path)!r}: tensor 'logits.{name}' holds numbers that are not finite"
        )
    labels = found["labels"]
    if labels.min() < 0 or labels.max() >= classes:
        raise ResultError(
            f"{str(path)!r}: tensor 'labels.{name}' holds labels from {labels.min()} to"
            f" {labels.max()}; there are {classes} classes"
        )
    return Scored(**found)
