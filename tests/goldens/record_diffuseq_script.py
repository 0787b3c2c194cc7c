"""Record what DiffuSeq's authors' decoding script writes.

    python -m tests.goldens.record_diffuseq_script CHECKOUT [PYTHON]

CHECKOUT is a checkout of github.com/Shark-NLP/DiffuSeq at commit f78945d. PYTHON is an interpreter with the authors'
packages (Python 3.8, torch 1.12.1, transformers 4.22.2, datasets, psutil); by default this one. Writes
diffuseq-script.json: the lines of ``sample_seq2seq.py`` for the checkpoint "small" of
`tests.adapters.diffuseq_checkpoints`, one batch a run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.adapters.diffuseq_checkpoints import SHAPES, WEIGHTS_NAME, training_args, write

PAIRS = (
    ("the cat do nothing", "how is it ?"),
    ("how can you do it ? what is good ? i don't do the red one", "a"),
    ("", "the red dog is good"),
    (" what ' s the  red cats nothings what ' s the red cat", "why not ? why not ? why not ? why not ?"),
    ("you", "it"),
)
RUNS: tuple[dict[str, Any], ...] = (
    {"step": 20, "seed2": 123, "clamp_step": 0, "top_p": -1},
    {"step": 20, "seed2": 101, "clamp_step": 14, "top_p": 1},
    {"step": 7, "seed2": 110, "clamp_step": 0, "top_p": -1},
    {"step": 1, "seed2": 5, "clamp_step": 0, "top_p": -1},
)
#: Stand-ins for packages of which they need next to nothing.
SHIMS = {"blobfile": "def BlobFile(path, mode):\n    return open(path, mode)\n", "wandb": ""}
VERSIONS = (
    "import json, tokenizers, torch, transformers; "
    "print(json.dumps([module.__version__ for module in (transformers, tokenizers, torch)]))"
)


def run(checkout: Path, python: str, place: Path, settings: dict[str, Any]) -> list[dict[str, str]]:
    """The lines of one run of their script.

    Args:
        checkout: their code; nothing is written into it.
        python: interpreter.
        place: an empty folder.
        settings: arguments of the script.
    """
    model = write(place / "model", SHAPES["small"])
    changed = {"data_dir": str(place), "checkpoint_path": str(place / "tokenizer"), "config_name": str(model)}
    arguments = {**training_args(SHAPES["small"], ""), **changed}
    (model / "training_args.json").write_text(json.dumps(arguments), encoding="utf-8")
    lines = [json.dumps({"src": source, "trg": target}) for source, target in PAIRS]
    (place / "test.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (place / "shims").mkdir()
    for name, text in SHIMS.items():
        (place / "shims" / f"{name}.py").write_text(text, encoding="utf-8")
    (place / "out").mkdir()
    words = ["--model_path", str(model / WEIGHTS_NAME), "--split", "test", "--batch_size", "50"]
    words += ["--out_dir", str(place / "out")]
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "PYTHONPATH")},
        "PYTHONPATH": str(place / "shims"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENAI_LOGDIR": str(place / "log"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(place / "cache"),
    }
    for name, value in settings.items():
        words += [f"--{name}", str(value)]
    subprocess.run(
        [python, "sample_seq2seq.py", *words], cwd=checkout, env=environment, check=True, capture_output=True, text=True
    )
    (file,) = (place / "out").rglob("*.json")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Write the file beside this one."""
    checkout, python = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else sys.executable
    told = subprocess.run([python, "-c", VERSIONS], check=True, capture_output=True, text=True).stdout
    versions = dict(zip(("transformers", "tokenizers", "torch"), json.loads(told), strict=True))
    runs = []
    for settings in RUNS:
        with tempfile.TemporaryDirectory() as place:
            runs.append({"settings": settings, "lines": run(checkout, python, Path(place), settings)})
    content = {"versions": versions, "pairs": PAIRS, "runs": runs}
    text = "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()) + "\n}\n"
    (Path(__file__).parent / "diffuseq-script.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
