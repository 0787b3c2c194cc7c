"""The console command ``tdbench``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeAlias

from harness import commands
from harness.compare.request import MAY_DIFFER, names_of
from harness.compare.request import Request as CompareRequest
from harness.config import BenchConfig, ReportConfig, ScoreConfig, describe
from harness.errors import UserError
from harness.export.request import ALL_FILES, ExportRequest
from harness.export.request import FORMATS as EXPORT_FORMATS
from harness.importing.request import FORMATS, ImportRequest
from harness.parity import ParityConfig
from harness.training.config import TrainConfig
from harness.worker.jsonl import DISK_FULL, UnsafeFile

EXIT_FAILED_POINTS, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130
GOLDENS = Path("tests/goldens")
SETTINGS_HELP = "settings, listed below; lists as steps=4,16,64"

COMPARE_CODES = """exit codes:
  0  nothing of B is worse than A beyond noise
  1  something is: a figure (adjusted p below 0.05, by more than --tolerance), seconds beyond --max-slowdown, or a point
     that A has finished and that failed in B
  2  wrong request, or none of the figures that are looked at could be compared
What could not be decided is said, and fails only with --strict: a smallest detectable difference above --tolerance, a
figure of the gate that could not be compared, a point that B has not finished."""

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

CONFIGURED: dict[str, tuple[str, type, Callable[[list[str]], int]]] = {
    "score": ("compute metrics of a stored run again, offline", ScoreConfig, commands.score),
    "report": ("write the report of a stored run again, or of several as one, offline", ReportConfig, commands.report),
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
    _add_bench(subcommands)
    for name, (summary, config, run) in CONFIGURED.items():
        sub = _add(subcommands, name, summary, config)
        sub.set_defaults(call=lambda given, run=run: run(given.settings))
    for name, (summary, look) in PLAIN.items():
        sub = subcommands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(call=lambda given, look=look: look())
    _add_fetch(subcommands)
    _add_images(subcommands)
    _add_convert(subcommands)
    _add_parity(subcommands)
    _add_import(subcommands)
    _add_compare(subcommands)
    _add_export(subcommands)
    return top


def _add(
    subcommands: Subcommands, name: str, summary: str, config: type, model: str | None = None
) -> argparse.ArgumentParser:
    """A subcommand with settings, after the name of a model where `model` says what for."""
    sub = subcommands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog="settings:\n" + describe(config),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if model:
        sub.add_argument("model", help=model)
    sub.add_argument("settings", nargs="*", metavar="key=value", help=SETTINGS_HELP)
    return sub


def _add_bench(subcommands: Subcommands) -> None:
    summary = "run a sweep, score it, write the report; the same command resumes a killed one"
    sub = _add(subcommands, "bench", summary, BenchConfig)
    sub.add_argument(
        "--dry-run",
        action="store_true",
        help="only print what would be run, fetched and built, and the memory it takes",
    )
    sub.set_defaults(call=lambda given: commands.bench(given.settings, given.dry_run))


def _add_parity(subcommands: Subcommands) -> None:
    summary = "run the authors' code and ours on one checkpoint and compare them, figure by figure"
    sub = _add(subcommands, "parity", summary, ParityConfig, "model with code of its authors")
    sub.set_defaults(call=lambda given: commands.parity(given.model, given.settings, given.record))
    sub.add_argument(
        "--record",
        nargs="?",
        type=Path,
        const=GOLDENS,
        metavar="FOLDER",
        help=f"also write the authors' figures, for tests that run without their code [{GOLDENS}]",
    )


def _add_fetch(subcommands: Subcommands) -> None:
    summary = "get published weights, or the authors' code of a model at the pinned commit; all verified"
    sub = subcommands.add_parser("fetch", help=summary, description=summary)
    add = sub.add_argument
    add("name", nargs="?", metavar="MODEL[:CHECKPOINT]", help="without a checkpoint the model's first published one")
    add("--dry-run", action="store_true", help="only list what would be fetched; without a name all published weights")
    add("--offline", action="store_true", help="touch no network: say what is missing and where to place it by hand")
    add("--upstream", action="store_true", help="the authors' code instead of weights")
    add(
        "--from",
        dest="source",
        metavar="SOURCE",
        help="a folder with files that were placed by hand; of code a mirror, a bundle or a local repository",
    )
    add("--to", metavar="FOLDER", help="of code: the checkout's folder; without it one in the cache")
    sub.set_defaults(
        call=lambda given: (
            commands.fetch_code(given.name, given.source, given.to)
            if given.upstream
            else commands.fetch(given.name, given.dry_run, given.offline, given.source, given.to)
        )
    )


def _add_images(subcommands: Subcommands) -> None:
    summary = "build the container images that are not there yet"
    sub = subcommands.add_parser("images", help=summary, description=summary)
    add = sub.add_argument
    add("names", nargs="*", metavar="NAME", help="folders of containers/; without one all")
    add("--base", metavar="IMAGE", help="base image instead of the Dockerfile's own, such as one without CUDA")
    add("--variant", help="cuda or cpu; without it cuda where this machine has a GPU")
    add(
        "--network", action="store_true", help="let pip download inside the build, instead of bringing wheels from here"
    )
    add("--dry-run", action="store_true", help="only say what would be built")
    add(
        "--context",
        type=Path,
        metavar="FILE",
        help="write one image's build context as a tar file, for another builder",
    )
    sub.set_defaults(
        call=lambda given: commands.images(
            given.names, given.base, given.variant, given.network, given.dry_run, given.context
        )
    )


def _add_convert(subcommands: Subcommands) -> None:
    summary = "copy a checkpoint with its pickles turned into safetensors, inside a container"
    sub = subcommands.add_parser("convert", help=summary, description=summary)
    add = sub.add_argument
    add("source", help="MODEL:CHECKPOINT, a folder or a file")
    add("--to", required=True, type=Path, metavar="FOLDER", help="folder to make")
    add("--minutes", type=float, default=30, help="time limit [30]")
    add("--memory", type=float, metavar="GIB", help="memory limit; without it twice the largest file and 2 GiB")
    sub.set_defaults(call=lambda given: commands.convert(given.source, given.to, given.minutes, given.memory))


def _add_import(subcommands: Subcommands) -> None:
    summary = "make rows from texts that were generated elsewhere, score them, write the report"
    sub = subcommands.add_parser(
        "import",
        help=summary,
        description=summary + ". Several files are several seeds of one step count; for another step count import again"
        " into the same run.",
        epilog="formats:\n" + "\n".join(f"  {name:<9} {what}" for name, what in FORMATS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = sub.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="file or folder of files; .gz too")
    add("--format", required=True, help=", ".join(FORMATS))
    add("--model", required=True, help="who wrote the texts: a model of ours or any name")
    add("--steps", required=True, type=int, help="sampler steps they were made with")
    add("--scheduler", help="how they were sampled")
    add("--benchmark", help="what they were made for; without it the run's own")
    add("--seed", dest="seeds", nargs="+", type=int, default=[], help="one a file; without it from names like seed10")
    add("--sources", type=Path, help="file with a source a line, where the files hold none")
    add("--references", type=Path, action="append", default=[], help="file with a true text a line; may be repeated")
    add("--seconds", type=float, help="what generating one file took, if you know it")
    add("--nfe", type=int, help="network evaluations of each text, if you know it")
    add("--no-mbr", dest="mbr", action="store_false", help="no row that chooses among the seeds")
    add("--run", help="name of the run folder [imported-BENCHMARK]")
    add(
        "--metrics", type=lambda names: names.split(","), default=["default"], help="as a,b; without it the benchmark's"
    )
    add("--judge", help="judge of generative perplexity: a folder or Hub name")
    add("--results", default="results", help="folder that holds run folders [results]")
    add("--reports", default="reports", help="folder that holds reports [reports]")
    names = [field.name for field in fields(ImportRequest)]
    sub.set_defaults(call=lambda given: commands.import_texts(ImportRequest(**{n: getattr(given, n) for n in names})))


def _add_compare(subcommands: Subcommands) -> None:
    summary = "set two runs, machines or versions against each other: what changed, and what is inside the noise"
    sub = subcommands.add_parser(
        "compare",
        help=summary,
        description=summary + ".",
        epilog=COMPARE_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = sub.add_argument
    add("a", metavar="RUN_A", help="the run that is the measure: a name, or a folder with a '/' in it")
    add("b", metavar="RUN_B", help="the run that is judged")
    add(
        "--metrics",
        type=names_of,
        default=(),
        metavar="A,B",
        help="figures that may fail, nfe, bits_per_byte and memory among them; without it every figure with a better "
        "and a worse, but seconds and memory",
    )
    add("--tolerance", type=float, default=0.0, metavar="SHARE", help="change for the worse that is accepted [0]")
    add("--max-slowdown", type=float, metavar="TIMES", help="as 1.10: fail when B takes longer than that [no limit]")
    add(
        "--by",
        type=names_of,
        default=MAY_DIFFER,
        metavar="A,B",
        help="fields in which two points may differ and still be the same point, instead of those in []; seed sets "
        f"other seeds against each other [{', '.join(MAY_DIFFER)}]",
    )
    add("--strict", action="store_true", help="fail also for what could not be decided or compared")
    add("--all", action="store_true", help="print every row, not only what changed")
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--tsv", dest="form", action="store_const", const="tsv", help="print all rows, tab-separated")
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print everything as JSON")
    add("--results", type=Path, default=Path("results"), help="folder that holds run folders [results]")
    add("--reports", type=Path, default=Path("reports"), help="folder that holds reports [reports]")
    names = [field.name for field in fields(CompareRequest)]
    sub.set_defaults(
        call=lambda given: commands.compare(
            CompareRequest(**{n: getattr(given, n) for n in names}), given.results, given.reports, given.form, given.all
        )
    )


def _add_export(subcommands: Subcommands) -> None:
    summary = "write a stored run, or several as one, in the formats of other tools"
    sub = subcommands.add_parser(
        "export",
        help=summary,
        description=summary + ". Nothing leaves this machine, unless --tracking-uri or "
        "MLFLOW_TRACKING_URI names another.",
        epilog="formats:\n" + "\n".join(f"  {name:<13} {what}" for name, what in EXPORT_FORMATS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = sub.add_argument
    add("runs", nargs="+", metavar="RUN", help="a run: a name, or a folder with a '/' in it; several become one table")
    add("--to", type=Path, metavar="FOLDER", help="where files go; without it the folder of the run's report")
    add(
        "--format",
        dest="formats",
        type=lambda names: [name.strip() for name in names.split(",")],
        default=list(ALL_FILES),
        metavar="A,B",
        help="formats, listed below; without it all that are files",
    )
    add(
        "--model-id",
        dest="model_ids",
        action="append",
        default=[],
        metavar="[MODEL:CHECKPOINT=]OWNER/NAME",
        help="repository on the Hub of a checkpoint that did not come from there; may be repeated",
    )
    add("--source-url", metavar="URL", help="page that shows the results, named as their source in the Hub's files")
    add("--project", help="project or experiment of a tracker [tdbench]")
    add("--tracking-uri", metavar="URI", help="MLflow's store [MLFLOW_TRACKING_URI, else RESULTS/mlflow.db]")
    add("--results", type=Path, default=Path("results"), help="folder that holds run folders [results]")
    add("--reports", type=Path, default=Path("reports"), help="folder that holds reports [reports]")
    names = [field.name for field in fields(ExportRequest)]
    sub.set_defaults(call=lambda given: commands.export(ExportRequest(**{n: getattr(given, n) for n in names})))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 fine, 1 when a point failed or engines differ, 2 when the request was wrong, 130 when interrupted.
    """
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.call(arguments)
        return code
    except UserError as error:
        print(f"tdbench: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except UnsafeFile as error:
        print(f"tdbench: {error}", file=sys.stderr)
        return EXIT_FAILED_POINTS
    except KeyboardInterrupt:
        print("tdbench: interrupted. The same command continues where it stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains as it ends
        return EXIT_FAILED_POINTS
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        print(f"tdbench: {error.strerror}. What was finished is kept; the same command continues.", file=sys.stderr)
        return EXIT_FAILED_POINTS


if __name__ == "__main__":
    sys.exit(main())
