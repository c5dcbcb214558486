"""Backend ``blocked``: one core, block by block, so that a kernel of several passes stays in cache.

Splitting and joining are :class:`~backends.engines.chunked.ChunkedBackend`'s; a backend that
computes elsewhere would subclass :class:`~backends.backend.Backend` and write ``run`` instead.
"""

from typing import Any

import numpy as np

from backends.engines.chunked import Chunk, ChunkedBackend, compute

__all__ = ["BlockedBackend"]


class BlockedBackend(ChunkedBackend):
    """Computes chunk after chunk in the calling thread."""

    name = "blocked"
    min_work = 2.0**16

    def start(self) -> None:
        """Begin with nothing: there are no workers."""

    def map(
        self, chunks: list[Chunk], operands: tuple[Any, ...], results: tuple[np.ndarray, ...]
    ) -> list[set[str]]:
        """Compute the chunks one after another."""
        return [compute(chunk, operands, results) for chunk in chunks]
