"""Measuring: how long each backend takes, what that is worth, and what is shown of it.

``timer`` compares calls; ``cases`` says what of, ``calls`` in which ways, ``suite`` makes a row of
each. ``ceilings`` and ``conditions`` say what the machine can do and what else it did. ``record``
is what is kept; ``report``, with ``heading``, ``costs`` and ``verdict``, is what is shown.
"""
