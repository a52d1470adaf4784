"""From a model to files that other runtimes execute, each proved against PyTorch."""

from edgeprune.exporting.accuracy import Labelled
from edgeprune.exporting.export import export
from edgeprune.exporting.hub import export_hub
from edgeprune.exporting.settings import ExportSettings, Int8Settings

__all__ = ["ExportSettings", "Int8Settings", "Labelled", "export", "export_hub"]
