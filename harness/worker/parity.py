"""``python -m harness.worker.parity FOLDER``: one engine's part in a comparison, in a process of its own.

FOLDER/job.json says which engine to load and what to do (`phase`):

- cases:  what to compare (cases.json), and the texts that are timed (texts.json); done by our engine.
- record: what the authors' code computes for each case (tensors.pt).
- replay: what our engine computes from those inputs (tensors.pt).
- time:   a sampling run and a likelihood evaluation after a warm-up: seconds, evaluations, peak memory (time.json).

A request that cannot be met goes to error.json, and the exit status is 2.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import torch

from adapters.base import AdapterError, GenerateRequest, LikelihoodRequest, Prompt
from adapters.parity import Case, Recording
from harness.worker.jsonl import write_json
from harness.worker.measure import PeakMemory
from harness.worker.run import load_model

CASES, TEXTS, TENSORS, TIMES, ERROR = "cases.json", "texts.json", "tensors.pt", "time.json", "error.json"

#: One part in so many of a row is the source of a timed seq2seq run.
SOURCE_SHARE = 4


def read_cases(folder: Path) -> List[Case]:
    """The cases that the phase of that name wrote."""
    return [Case(**case) for case in json.loads((folder / CASES).read_text(encoding="utf-8"))]


def read_tensors(folder: Path) -> Dict[str, Recording]:
    """What a phase computed, by case."""
    tensors: Dict[str, Recording] = torch.load(str(folder / TENSORS), map_location="cpu", weights_only=True)
    return tensors


class ParityWorker:
    """One phase.

    Args:
        folder: with job.json; what is computed is written there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job: Dict[str, Any] = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.device: str = self.job["load"]["device"]
        torch.set_num_threads(self.job["threads"])

    def run(self) -> None:
        """Do the job's phase. Raises `AdapterError` for what the engine cannot do."""
        self.model: Any = load_model(self.job["engine_module"], self.job["load"])
        phases = {"cases": self._cases, "record": self._record, "replay": self._replay, "time": self._time}
        phases[self.job["phase"]]()

    def _cases(self) -> None:
        module = importlib.import_module(self.job["parity_module"])
        cases = [case for case in module.cases(self.model) if case.kind in self.job["kinds"]]
        write_json(self.folder / CASES, [asdict(case) for case in cases])
        write_json(self.folder / TEXTS, self._texts())

    def _texts(self) -> List[str]:
        """Random texts, each of which the model reads as one window at most."""
        generator = torch.Generator().manual_seed(self.job["timed"]["seed"])
        length = max(1, self._length() // (SOURCE_SHARE if self.job["timed"]["task"] == "seq2seq" else 1))
        tokenizer = self.model.tokenizer
        texts = []
        for _ in range(self.job["timed"]["count"]):
            text = tokenizer.decode(torch.randint(0, tokenizer.vocab_size, (length,), generator=generator).tolist())
            while len(tokenizer.encode(text)) > length:
                text = text[: -max(1, len(text) // 50)]
            texts.append(text)
        return texts

    def _length(self) -> int:
        return int(self.job["timed"]["length"] or self.model.default_length)

    def _record(self) -> None:
        module = importlib.import_module(self.job["engine_module"])
        self._compute(lambda case: module.record(self.model, case))

    def _replay(self) -> None:
        module = importlib.import_module(self.job["parity_module"])
        recorded = read_tensors(Path(self.job["recorded"]))

        def replay(case: Case) -> Recording:
            inputs = {key: value.to(self.device) for key, value in recorded[case.name].items()}
            replayed: Recording = module.replay(self.model, case, inputs)
            return replayed

        self._compute(replay)

    def _compute(self, compute: Callable[[Case], Recording]) -> None:
        found = {}
        for case in read_cases(Path(self.job["cases"])):
            # Clones, because a view would be saved with all that it is a view of.
            found[case.name] = {key: value.detach().cpu().clone() for key, value in compute(case).items()}
        torch.save(found, str(self.folder / TENSORS))

    def _time(self) -> None:
        timed = self.job["timed"]
        request, warmup = (
            GenerateRequest(
                count=count,
                length=self._length(),
                steps=steps,
                scheduler=timed["scheduler"],
                task=timed["task"],
                options=timed["options"],
                seed=timed["seed"],
                prompts=self._prompts(count),
            )
            for count, steps in ((timed["count"], timed["steps"]), (timed["warmup_count"], timed["warmup_steps"]))
        )
        self.model.generate(warmup)
        result, figures = self._measured(lambda: self.model.generate(request))
        tokens = hashlib.sha256(json.dumps(result.tokens).encode()).hexdigest()
        times = {"sampling": {**figures, "nfe": sum(result.nfe), "result": tokens}}
        if timed["estimator"]:
            texts = tuple(json.loads((Path(self.job["cases"]) / TEXTS).read_text(encoding="utf-8")))
            scored = LikelihoodRequest(texts, timed["estimator"], {"draws": timed["draws"]}, timed["seed"])
            self.model.likelihood(LikelihoodRequest(texts, timed["estimator"], {"draws": 1}, timed["seed"]))
            outcome, figures = self._measured(lambda: self.model.likelihood(scored))
            # The engines draw noise of their own, so there is no result that both must give.
            times["likelihood"] = {**figures, "nfe": sum(outcome.nfe), "result": None}
        write_json(self.folder / TIMES, times)

    def _prompts(self, count: int) -> Tuple[Prompt, ...]:
        """Sources, where the timed task has them."""
        if self.job["timed"]["task"] != "seq2seq":
            return ()
        texts = json.loads((Path(self.job["cases"]) / TEXTS).read_text(encoding="utf-8"))
        return tuple(Prompt(source=text) for text in texts[:count])

    def _measured(self, call: Callable[[], Any]) -> Tuple[Any, Dict[str, Any]]:
        memory = PeakMemory(self.device)
        memory.reset()
        self._synchronise()
        start = time.perf_counter()
        result = call()
        self._synchronise()
        return result, {"seconds": time.perf_counter() - start, "peak_memory_bytes": memory.read()}

    def _synchronise(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


def main(folder: Path) -> int:
    """Returns 0, or 2 for a request that the engine cannot meet (error.json has the reason)."""
    try:
        ParityWorker(folder).run()
    except AdapterError as error:
        write_json(folder / ERROR, {"message": str(error)})
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
