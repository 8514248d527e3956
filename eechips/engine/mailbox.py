"""A folder through which a parent and workers that cannot talk to each other tell what is to be done, and what was.

The parent deals the units into lanes, a file each, of which there are as many as the run has slots: who works at a
lane has its slot. Workers tell what became of units in shards, files of JSON lines that have names of their own and
appear whole: two shards may tell of the same unit, none of half a unit. The folder lies where the results go, on a disk
or in an object store, until everything in it stands in the ledger.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from eechips import errors
from eechips.client.requests import Doubt
from eechips.client.throttle import Tally
from eechips.client.transport import Exchange
from eechips.engine.executors.executor import Finished, Lost
from eechips.engine.outcome import Outcome
from eechips.errors import EechipsError, ProjectUnavailableError
from eechips.manifest.record import Planned, Record, State
from eechips.objects import ObjectStore
from eechips.recipe import canonical_json
from eechips.removal import Noted, remove_empty, remove_tree
from eechips.staging import new_writer
from eechips.storage import LocalStore, Staged, Store

FOLDER = "beam"
"""Of all mailboxes, below the output folder."""
_MARKS = 64  # bits in the names of shards that say of which lanes they are
_UNITS, _OUTCOMES, _STOP = "units", "outcomes", "stop"

Stop = Literal["finish", "now"]
"""How to stop: after what is in flight, or at once."""


@dataclass(frozen=True, slots=True)
class Shard:
    """What a worker has told at once.

    Attributes:
        events: what became of units, in the order in which they were done.
        worker: a word for the worker process.
        tally: what it has sent since it told last, and how it stands; None of one that only begins.
        host: name of the machine and number of the process, for who can see whether it lives.
    """

    worker: str
    events: tuple[Finished | Lost, ...] = ()
    tally: Tally | None = None
    host: tuple[str, int] | None = None


@dataclass(frozen=True)
class Mailbox:
    """One such folder. Picklable; every process reads and writes for itself.

    Attributes:
        store: of the results.
        token: name of the folder.
    """

    store: Store
    token: str
    _box: Store = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        place = f"{FOLDER}/{self.token}"
        if isinstance(self.store, ObjectStore):
            box: Store = ObjectStore(f"{self.store.url}/{place}")
        else:
            assert isinstance(self.store, LocalStore)
            box = LocalStore(self.store.root / place)
        object.__setattr__(self, "_box", box)

    def deal(self, tasks: Sequence[Planned], lanes: int) -> list[int]:
        """Deals units into lanes, in turns, so that all lanes are as long and the first units come first.

        Returns:
            The numbers of the lanes: one for each slot, at most one for each unit.
        """
        dealt = list(range(min(lanes, len(tasks))))
        for lane in dealt:
            self._put(_lane_name(lane), map(_of_task, tasks[lane :: len(dealt)]))
        return dealt

    def units(self, lane: int) -> list[Planned]:
        """The units of a lane.

        Raises:
            FileNotFoundError: if the folder is not to be seen from here.
        """
        return [_task(line) for line in self._lines(_lane_name(lane))]

    def tell(self, lanes: Iterable[int], shard: Shard) -> None:
        """Writes a shard.

        Args:
            lanes: at which the worker works.
            shard: what it has to tell.
        """
        about = {"worker": shard.worker, "host": shard.host, "tally": shard.tally and dataclasses.asdict(shard.tally)}
        name = f"{_OUTCOMES}-{_marks(lanes):0{_MARKS // 4}x}-{uuid.uuid4().hex}.jsonl"
        self._put(name, (about, *map(_of_event, shard.events)))

    def told(self, lanes: Iterable[int] | None = None) -> list[str]:
        """Names of the shards: of some lanes, and perhaps of a few others; or of all."""
        names = (name for name, _ in self._box.sizes(["."]) if name.startswith(f"{_OUTCOMES}-"))
        wanted = None if lanes is None else _marks(lanes)
        return sorted(name for name in names if wanted is None or int(name.split("-")[1], 16) & wanted)

    def read(self, name: str) -> Shard:
        """A shard."""
        about, *lines = self._lines(name)
        tally = None if about["tally"] is None else Tally(**about["tally"])
        host = None if about["host"] is None else (str(about["host"][0]), int(about["host"][1]))
        return Shard(about["worker"], tuple(map(_event, lines)), tally, host)

    def settled(self, lanes: Iterable[int]) -> set[str]:
        """Ids of the units of which workers of these lanes have told already."""
        return {event.task.id for name in self.told(lanes) for event in self.read(name).events}

    def stop(self, how: Stop) -> None:
        """Tells every worker to stop."""
        self._put(_STOP, ({"how": how},))

    @property
    def stopped(self) -> Stop | None:
        """How workers are to stop, if they are."""
        try:
            (found,) = self._lines(_STOP)
        except FileNotFoundError:
            return None
        return "now" if found["how"] == "now" else "finish"

    def clear(self) -> None:
        """Removes the folder and all that is in it."""
        if isinstance(self._box, LocalStore):
            remove_tree(self._box.root, Noted())  # with what writers that were killed have left
            remove_empty(self._box.root.parent)
            return
        for name, size in self._box.sizes(["."]):
            self._box.discard(Staged(name, name, size, ""))

    def _put(self, name: str, lines: Iterable[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self._box.commit(self._box.stage(name, text.encode(), str(new_writer())))

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        # Not splitlines(): it knows more ends of lines than JSON does.
        return map(json.loads, self._box.read(name).decode().rstrip("\n").split("\n"))


def _marks(lanes: Iterable[int]) -> int:
    """A number that has a bit in common with that of lanes of which some are the same, and rarely with others'."""
    marks = 0
    for lane in lanes:
        marks |= 1 << lane % _MARKS
    return marks


def _lane_name(lane: int) -> str:
    return f"{_UNITS}-{lane:05d}.jsonl"


def _of_task(task: Planned) -> dict[str, Any]:
    return {**dataclasses.asdict(task), "unit": json.loads(task.unit)}


def _task(line: dict[str, Any]) -> Planned:
    return Planned(**{**line, "unit": canonical_json(line["unit"])})


def _of_event(event: Finished | Lost) -> dict[str, Any]:
    if isinstance(event, Lost):
        return {"task": _of_task(event.task), "lost": event.reason, "blame": event.blame}
    outcome = event.outcome
    staged = () if outcome.staged is None else (outcome.staged, *outcome.further)
    told = {
        "record": None if outcome.record is None else _given(dataclasses.asdict(outcome.record)),
        "files": [[each.name, each.size, each.sha256] for each in staged],
        "layers": list(outcome.layers),
        "fatal": None if outcome.fatal is None else _of_error(outcome.fatal),
        "alike": outcome.alike,
        "refused": outcome.refused,
        "exchanges": [dataclasses.asdict(each) for each in outcome.exchanges],
        "is_exclusive": outcome.is_exclusive,
        "doubts": [dataclasses.asdict(each) for each in outcome.doubts],
    }
    return {"task": _of_task(event.task), **{name: value for name, value in told.items() if value}}


def _event(line: dict[str, Any]) -> Finished | Lost:
    task = _task(line["task"])
    if "lost" in line:
        return Lost(task, line["lost"], line["blame"])
    record = line.get("record")
    staged = [Staged(name, name, size, sha256) for name, size, sha256 in line.get("files", ())]
    outcome = Outcome(
        task.position,
        None if record is None else Record(**{**record, "state": State(record["state"])}),
        staged[0] if staged else None,
        fatal=_error(*line["fatal"]) if "fatal" in line else None,
        alike=line.get("alike"),
        refused=(int(line["refused"][0]), str(line["refused"][1])) if "refused" in line else None,
        exchanges=tuple(Exchange(**each) for each in line.get("exchanges", ())),
        further=tuple(staged[1:]),
        layers=tuple((path, layer, facts) for path, layer, facts in line.get("layers", ())),
        is_exclusive=line.get("is_exclusive", False),
        doubts=tuple(Doubt(each["template"], tuple(each["positions"])) for each in line.get("doubts", ())),
    )
    return Finished(task, outcome)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _of_error(error: EechipsError) -> list[str]:
    until = error.until if isinstance(error, ProjectUnavailableError) else None
    return [type(error).__name__, str(error), *([until] if until else [])]


def _error(name: str, text: str, until: str | None = None) -> EechipsError:
    kind: type[EechipsError] = getattr(errors, name)
    return ProjectUnavailableError(text, until=until) if kind is ProjectUnavailableError else kind(text)
