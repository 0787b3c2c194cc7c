"""The host side of tdbench: plans, runs, scores and reports. Knows no model by name."""

__version__ = "0.1.0"
