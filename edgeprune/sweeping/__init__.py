"""Sweeps: models x metrics x ratios x targets x seeds, into one store of results."""
