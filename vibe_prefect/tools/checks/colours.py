"""Colours as people see them: how far two are apart, how well one reads on the other."""

from __future__ import annotations

from math import dist

RGB = tuple[int, int, int]

_WHITE = (0.95047, 1.0, 1.08883)
"""Illuminant D65, of 2 degrees: the white of sRGB in XYZ."""


def hexadecimal(colour: RGB) -> str:
    """Return a colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def difference(one: RGB, other: RGB) -> float:
    """Return how far two colours are apart, as CIE 1976 delta E.

    0 is the same, about 2 can just be seen, black and white are 100 apart.
    """
    return dist(_lab(one), _lab(other))


def contrast(one: RGB, other: RGB) -> float:
    """Return how well one colour reads on the other, from 1 to 21: WCAG 2.2, "contrast ratio"."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _linear(colour: RGB) -> tuple[float, float, float]:
    """Undo sRGB's gamma, IEC 61966-2-1."""
    parts = (value / 255 for value in colour)
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in parts
    )
    return red, green, blue


def _luminance(colour: RGB) -> float:
    red, green, blue = _linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _lab(colour: RGB) -> tuple[float, float, float]:
    """Return a colour in CIELAB, ISO/CIE 11664-4."""
    red, green, blue = _linear(colour)
    xyz = (
        0.4124564 * red + 0.3575761 * green + 0.1804375 * blue,
        0.2126729 * red + 0.7151522 * green + 0.0721750 * blue,
        0.0193339 * red + 0.1191920 * green + 0.9503041 * blue,
    )
    x, y, z = (_bent(component / white) for component, white in zip(xyz, _WHITE, strict=True))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _bent(ratio: float) -> float:
    return ratio ** (1 / 3) if ratio > (6 / 29) ** 3 else ratio / (3 * (6 / 29) ** 2) + 4 / 29
