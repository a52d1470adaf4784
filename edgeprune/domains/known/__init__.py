"""What is known of each data set: one file each, found by :mod:`edgeprune.domains.registry`."""
