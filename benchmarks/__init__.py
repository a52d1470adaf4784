"""Figures of speed and size: ``make bench``, or ``python -m benchmarks NAME...``."""
