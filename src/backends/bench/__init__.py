"""Measuring: timer, machine, suite (what runs), record (what is kept), report (what is shown)."""
