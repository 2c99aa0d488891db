"""How fast ferlite is on this machine: `ferlite bench`.

Everything is measured in rounds, each of which has a bit of everything, so that what is compared
saw the same machine and an interrupted bench knows something of all.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferlite.bench import video
from ferlite.bench.machine import Energy, describe, thread_counts
from ferlite.bench.networks import Networks, pair

if TYPE_CHECKING:
    from ferlite.analyzer import Analyzer

__all__ = ["QUICK", "THOROUGH", "Bench", "Plan"]

# Of the JSON document; rises when a field changes its meaning or goes away.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    rounds: of everything. video_s: at most, of one pass of the clip through the pipeline, and of
    one stage by stage. network_s: of a group of networks that are compared, a round.
    limit_s: no round begins that would probably end later than this.
    """

    rounds: int
    video_s: float
    network_s: float
    limit_s: float = 100.0


THOROUGH = Plan(rounds=3, video_s=2.5, network_s=1.0)
QUICK = Plan(rounds=1, video_s=1.5, network_s=0.2)


class Bench:
    """One bench.

    clip: a video file, None for the demo's clip. detector, model: as for `Analyzer`.
    told: gets a few words on what is measured next, and the share done, 0..1.
    `run` raises SourceError, UsageError, ModelError.
    """

    def __init__(
        self,
        clip: Path | None,
        *,
        detector: str,
        model: str,
        plan: Plan = THOROUGH,
        told: Callable[[str, float], None] = lambda words, done: None,
    ) -> None:
        self._clip, self._detector, self._model = clip, detector, model
        self._plan, self._told = plan, told
        self._began = time.perf_counter()
        self._finished = False
        self._rounds = 0
        self._about: dict[str, Any] = {}
        self._process: dict[str, Any] = {}
        self._whole: list[video.Whole] = []
        self._stages = video.Stages()
        self._networks: Networks | None = None
        self._unavailable: list[dict[str, str]] = []
        self._energy = Energy()
        self._default = 0

    def run(self) -> None:
        """Measures; may be interrupted anywhere, `report` then has what there is."""
        self._told("opening the models", 0.0)
        analyzer = self._analyzer(0)
        self._about = {"machine": describe(), "runs": analyzer.description()}
        self._default = analyzer.classifier.threads
        with self._files() as (clip, folder):
            self._told("a process of its own", 0.05)
            self._process = video.process(clip, self._detector, self._model, self._plan.video_s)
            self._told("opening the networks", 0.1)
            self._open(analyzer)
            begun = time.perf_counter()
            for number in range(self._plan.rounds):
                self._round(clip, folder, number)
                self._rounds += 1
                now = time.perf_counter()
                if now + (now - begun) / self._rounds > self._began + self._plan.limit_s:
                    break
        self._finished = True

    def report(self) -> dict[str, Any]:
        """What was measured so far, in JSON types.

        machine, clip, runs (what an `Analyzer` runs here: provider, models, versions), process
        (seconds to the first record, peak memory), stages, answers, whole (frames a second, by
        threads), pace (the whole against its slowest stage alone), emotion and detector (rows of
        network variants), unavailable (providers, and why), energy.
        """
        networks = self._networks
        return {
            "schema": SCHEMA,
            "complete": self._finished,
            "rounds": self._rounds,
            "seconds": round(time.perf_counter() - self._began, 1),
            **self._about,
            "process": self._process,
            "stages": [row.to_dict() for row in self._stages.rows.values() if row.rounds],
            "answers": self._stages.answers(),
            "whole": [one.to_dict() for one in self._whole],
            "pace": self._pace(),
            "emotion": [row.to_dict() for row, _ in networks.emotion] if networks else [],
            "detector": [row.to_dict() for row, _ in networks.detector] if networks else [],
            "unavailable": self._unavailable + (networks.unavailable if networks else []),
            "energy": self._energy.to_dict(),
        }

    @contextlib.contextmanager
    def _files(self) -> Iterator[tuple[Path, Path]]:
        with tempfile.TemporaryDirectory(prefix="ferlite-bench-") as name:
            folder = Path(name)
            if self._clip is None:
                self._told("writing the demo's clip", 0.02)
            clip = self._clip or video.demo_clip(folder / "demo.mp4")
            with video.open_clip(clip) as source:
                info = source.info
            self._about["clip"] = {
                "name": "demo" if self._clip is None else str(self._clip),
                "width": info.width,
                "height": info.height,
                "frames": info.frames,
                "fps": info.fps,
            }
            yield clip, folder

    def _open(self, analyzer: Analyzer) -> None:
        """The variants of its networks, on the providers that work here."""
        from ferlite import session

        works = []
        for name, runs, why in session.providers():
            if runs:
                works.append(name)
            else:
                told = {"network": "all", "provider": name, "reason": why}
                self._unavailable.append(told)
        counts = thread_counts()
        self._whole = [video.Whole({"threads": count}) for count in counts]
        self._networks = Networks(
            analyzer.classifier.bundle,
            self._detector,
            providers=works,
            threads=counts,
            default=self._default,
        )

    def _round(self, clip: Path, folder: Path, number: int) -> None:
        plan = self._plan

        def told(what: str, share: float) -> None:
            words = f"round {number + 1} of {plan.rounds}: {what}"
            self._told(words, 0.15 + 0.85 * (number + share) / plan.rounds)

        results = []
        for place, whole in enumerate(self._whole):
            threads = whole.facts["threads"]
            told(f"the whole, {threads} thread{'' if threads == 1 else 's'}", 0.1 * place)
            # Opened anew each time: OpenCV has one setting of threads for the whole process.
            analyzer = self._analyzer(threads)
            usual = threads == self._default
            if usual:
                self._energy.begin()
            found = whole.round(analyzer, clip, folder, plan.video_s)
            if usual:
                self._energy.end(len(found))
                results = found
        told("stage by stage", 0.5)
        self._stages.round(self._analyzer(0), clip, folder, results, plan.video_s)
        told("the networks", 0.7)
        assert self._networks is not None
        self._networks.round(plan.network_s)

    def _analyzer(self, threads: int) -> Analyzer:
        from ferlite.analyzer import Analyzer

        opened = Analyzer(self._detector, self._model, threads=threads)
        opened.analyze(pair())  # the first run of a network takes longer
        return opened

    def _pace(self) -> dict[str, Any] | None:
        slowest = self._stages.slowest()
        usual = [one for one in self._whole if one.facts["threads"] == self._default and one.rates]
        if slowest is None or not usual:
            return None
        name, alone = slowest
        ratio = usual[0].to_dict()["per_s"] / alone
        return {"slowest": name, "alone_per_s": round(alone, 2), "ratio": round(ratio, 3)}
