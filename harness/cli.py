"""The console command ``tdbench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from harness import commands
from harness.config import BenchConfig, ReportConfig, ScoreConfig, describe
from harness.errors import UserError
from harness.training.config import TrainConfig
from harness.worker.jsonl import DISK_FULL

EXIT_FAILED_POINTS, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130

CONFIGURED: dict[str, tuple[str, type, Callable[[list[str]], int]]] = {
    "bench": (
        "run a sweep, score it, write the report; the same command resumes a killed one",
        BenchConfig,
        commands.bench,
    ),
    "score": ("compute metrics of a stored run again, offline", ScoreConfig, commands.score),
    "report": ("write the report of a stored run again, offline", ReportConfig, commands.report),
    "train": ("train a small checkpoint in a model's published layout", TrainConfig, commands.train),
}
PLAIN: dict[str, tuple[str, Callable[[], int]]] = {
    "models": ("list models, their checkpoints, schedulers and tasks", commands.models),
    "benchmarks": ("list benchmarks and metrics", commands.benchmarks),
    "doctor": ("say what this machine can do and what is missing for what", commands.doctor),
}


def parser() -> argparse.ArgumentParser:
    """The argument parser; settings of a subcommand are ``key=value`` words."""
    top = argparse.ArgumentParser(
        prog="tdbench", description="Compare text-diffusion language models over step counts and schedulers."
    )
    subcommands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (summary, config, _) in CONFIGURED.items():
        sub = subcommands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog="settings:\n" + describe(config),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument(
            "settings", nargs="*", metavar="key=value", help="settings, listed below; lists as steps=4,16,64"
        )
    for name, (summary, _) in PLAIN.items():
        subcommands.add_parser(name, help=summary, description=summary)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 fine, 1 when a point failed, 2 when the request was wrong, 130 when interrupted.
    """
    arguments = parser().parse_args(argv)
    try:
        if arguments.command in PLAIN:
            return PLAIN[arguments.command][1]()
        return CONFIGURED[arguments.command][2](arguments.settings)
    except UserError as error:
        print(f"tdbench: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("tdbench: interrupted. The same command continues where it stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        print(f"tdbench: {error.strerror}. What was finished is kept; the same command continues.", file=sys.stderr)
        return EXIT_FAILED_POINTS


if __name__ == "__main__":
    sys.exit(main())
