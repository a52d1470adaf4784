"""Architecture families: the only place that knows how a model is built.

A new family is one file in this package that ends with ``register(MyFamily())``.
"""

from edgeprune.families.base import ChannelGroup, Family, family_names, of, register

__all__ = ["ChannelGroup", "Family", "family_names", "of", "register"]
