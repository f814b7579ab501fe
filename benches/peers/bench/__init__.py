"""Watershed and its peers on the same work, side by side. `run.py` is the command; README.md tells the method."""


class Refusal(Exception):
    """What stops a run, as a sentence for people."""
