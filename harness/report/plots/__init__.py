"""The plots of a place, a file a kind; `harness.report.figures` puts them together."""
