"""A folder that can be uploaded to a model hub: artifact, ONNX files, model card.

The folder is an artifact itself: every command takes it as MODEL.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprune import artifact
from edgeprune.exporting.accuracy import Labelled
from edgeprune.exporting.export import export
from edgeprune.exporting.model_card import model_card
from edgeprune.exporting.parity import Probe
from edgeprune.exporting.settings import ExportSettings
from edgeprune.files import output_directory
from edgeprune.model import Model
from edgeprune.progress import SILENT, Progress
from edgeprune.schema import ExportResult

CARD_FILE = "README.md"
ONNX = "onnx"


def export_hub(
    model: Model,
    output: Path,
    settings: ExportSettings | None = None,
    *,
    licence: str | None = None,
    probes: Sequence[Probe] = (),
    labelled: Labelled | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> ExportResult:
    """Write ``model`` as a folder for a hub; arguments and errors are those of :func:`export`.

    Args:
        licence: of the weights; None takes what the artifact records of those it started from.
    """
    with output_directory(output, force=force) as scratch:
        result = export(
            model,
            scratch / ONNX,
            settings,
            probes=probes,
            labelled=labelled,
            progress=progress,
        )
        record = artifact.write(model, scratch).record
        card = model_card(record, result.files, output.absolute().name, licence)
        (scratch / CARD_FILE).write_text(card, encoding="utf-8")
    return _moved(result, scratch, output)


def _moved(result: ExportResult, scratch: Path, output: Path) -> ExportResult:
    """Name the files by where they lie in the end."""

    def path(text: str) -> str:
        return str(output / Path(text).relative_to(scratch))

    files = [
        file.model_copy(
            update={
                "path": path(file.path),
                "external": file.external
                and file.external.model_copy(update={"path": path(file.external.path)}),
            }
        )
        for file in result.files
    ]
    return result.model_copy(update={"files": files})
