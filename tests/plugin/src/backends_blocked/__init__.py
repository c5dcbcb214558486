"""Backend ``blocked``: one core, block by block, so that a kernel of several passes stays in cache.

Splitting and joining are :class:`~backends.engines.chunked.ChunkedBackend`'s; a backend that
computes elsewhere would subclass :class:`~backends.backend.Backend` and write ``run`` instead.
"""

from backends.engines.chunked import ChunkedBackend, compute

__all__ = ["BlockedBackend"]


class BlockedBackend(ChunkedBackend):
    """Computes chunk after chunk in the calling thread."""

    name = "blocked"
    min_work = 2.0**16

    def start(self):
        """Begin with nothing: there are no workers."""

    def map(self, chunks, operands, results):
        """Compute the chunks one after another."""
        return [compute(chunk, operands, results) for chunk in chunks]
