"""The JSON documents that edgeprune writes and reads: one versioned schema each.

Numbers carry their unit in their name, accuracies are percent, and a figure that was not
measured is null or marked ``estimated``.
"""

from __future__ import annotations

from edgeprune.schema.artifacts import (
    ArtifactRecord,
    Cost,
    DataFacts,
    DGResult,
    DomainAccuracy,
    Drop,
    HistoryPoint,
    LatencyCandidate,
    LayerChange,
    Made,
    NamedAccuracy,
    Selection,
    SplitFacts,
    Width,
)
from edgeprune.schema.benchmarking import (
    BenchResult,
    Comparison,
    EstimatedLayer,
    Latency,
    Measurement,
    Memory,
    PreprocessingTimes,
    RawCalls,
    Saturation,
    Sustained,
    ThroughputPoint,
    TransferTimes,
)
from edgeprune.schema.document import (
    Document,
    Facts,
    parse_document,
    read_document,
)
from edgeprune.schema.exporting import (
    DomainParity,
    ExportedFile,
    ExportResult,
    ExternalData,
    Int8Facts,
    KeptLayer,
    Parity,
    SourceParity,
)
from edgeprune.schema.gate import (
    CheckResult,
    Finding,
)
from edgeprune.schema.pruning import (
    PrunePlan,
    PruneResult,
    PruneSeconds,
)
from edgeprune.schema.training import (
    EvalResult,
    FinetuneResult,
    FinetuneSeconds,
    MachineFacts,
)

__all__ = [
    "ArtifactRecord",
    "BenchResult",
    "CheckResult",
    "Comparison",
    "Cost",
    "DGResult",
    "DataFacts",
    "Document",
    "DomainAccuracy",
    "DomainParity",
    "Drop",
    "EstimatedLayer",
    "EvalResult",
    "ExportResult",
    "ExportedFile",
    "ExternalData",
    "Facts",
    "Finding",
    "FinetuneResult",
    "FinetuneSeconds",
    "HistoryPoint",
    "Int8Facts",
    "KeptLayer",
    "Latency",
    "LatencyCandidate",
    "LayerChange",
    "MachineFacts",
    "Made",
    "Measurement",
    "Memory",
    "NamedAccuracy",
    "Parity",
    "PreprocessingTimes",
    "PrunePlan",
    "PruneResult",
    "PruneSeconds",
    "RawCalls",
    "Saturation",
    "Selection",
    "SourceParity",
    "SplitFacts",
    "Sustained",
    "ThroughputPoint",
    "TransferTimes",
    "Width",
    "parse_document",
    "read_document",
]
