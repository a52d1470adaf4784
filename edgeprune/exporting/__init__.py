"""From a model to files that other runtimes execute, each proved against PyTorch."""

from edgeprune.exporting.export import ExportSettings, export

__all__ = ["ExportSettings", "export"]
