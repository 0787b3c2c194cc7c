"""The report of a run: one HTML file that needs no network, with CSV, Markdown and SVG beside it."""

from harness.report.collect import report_data
from harness.report.command import row_command
from harness.report.data import ReportData
from harness.report.render import write_report

__all__ = ["ReportData", "report_data", "row_command", "write_report"]
