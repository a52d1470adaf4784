"""Putting figures into words."""


def count(number: float) -> str:
    """Shorten a count: 4.61 G, 21.7 M."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number:g}"
