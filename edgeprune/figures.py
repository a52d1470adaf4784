"""Putting figures into words."""


def count(number: float) -> str:
    """Shorten a count: 4.61 G, 21.7 M."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number:g}"


def significant(value: float | None) -> str:
    """Three significant digits, whole numbers from 1000 on, a dash for none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
