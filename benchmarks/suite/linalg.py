"""Linear algebra on every backend: one benchmark a kernel."""

from __future__ import annotations

from . import common

globals().update(common.of_family("linear algebra"))

__getattr__ = common.of_other
