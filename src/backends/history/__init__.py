"""What was measured over commits and machines; this imports no backend, and measures nothing."""

__all__: list[str] = []
