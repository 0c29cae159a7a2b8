"""The runs that a sweep has in MLflow, of any kind: found by their tags, made, filled, emptied and given up."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.ledger.storage import Storage
from sweep.tracking.addresses import RELATIVE
from sweep.tracking.drafts import (
    PARENT,
    Draft,
)
from sweep.tracking.writers import TAG_LENGTH, ApiWriter

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run


PAGE = 1000  # runs per answer to a search
REPLACED = "replaced"  # the kind of a run that a sync has deleted


class Runs:
    """A sweep's runs, as one sync reads and writes them."""

    def __init__(self, writer: ApiWriter, experiment: Experiment, identity: str, files: Path | None) -> None:
        self.writer, self.experiment, self.identity, self.files = writer, experiment, identity, files
        self.client = writer.client
        self.created: set[str] = set()  # ids
        self.updated: set[str] = set()

    def bring_back(self) -> None:
        """Restore the runs that were deleted by hand: what the ledger holds is shown."""
        condition = f"tags.`pliant.sweep` = '{self.identity}' and tags.`pliant.kind` != '{REPLACED}'"
        for run in self._search(condition, deleted=True):
            self.client.restore_run(run.info.run_id)
            self.updated.add(run.info.run_id)

    def find(self, kind: str, key: str, group: str | None = None) -> dict[str, Run]:
        """The sweep's live runs of a kind, by the value of the tag `key`.

        Of two for one thing, as two machines on one server can leave them, every sync keeps the same one.
        """
        condition = f"tags.`pliant.kind` = '{kind}'"
        if group is not None:
            condition += f" and tags.`pliant.group` = '{group}'"
        by_tag: dict[str, Run] = {}
        twice = []
        for run in sorted(self._search(condition), key=lambda run: (run.info.start_time, run.info.run_id)):
            if by_tag.setdefault(run.data.tags[key], run) is not run:
                twice.append(run)
        self.discard(twice)
        return by_tag

    def _search(self, condition: str, *, deleted: bool = False) -> list[Run]:
        """All runs that meet a condition: the live ones, or those that were deleted."""
        from mlflow.entities import ViewType

        state = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        within = [self.experiment.experiment_id]
        page = self.client.search_runs(within, condition, state, max_results=PAGE)
        runs = list(page)
        while page.token:
            page = self.client.search_runs(within, condition, state, max_results=PAGE, page_token=page.token)
            runs += page
        return runs

    def write(self, drafts: Mapping[str, Draft], earlier: Mapping[str, Run]) -> None:
        """Make runs hold their drafts, those that are not known or cannot be emptied as new ones."""
        kept = self.emptied({name: earlier[name] for name in drafts if name in earlier})
        new = [name for name in drafts if name not in kept]
        runs = {name: run.info.run_id for name, run in kept.items()}
        runs |= zip(new, self.create([drafts[name] for name in new]), strict=True)
        self.fill({runs[name]: draft for name, draft in drafts.items()})

    def renew(self, kind: str, drafts: Mapping[str, Draft]) -> int:
        """Have a run for every draft (place -> draft) of a kind, anew where its content changed; how many there are."""
        earlier = self.find(kind, "pliant.place")
        same = {
            place
            for place, draft in drafts.items()
            if place in earlier and earlier[place].data.tags.get("pliant.content") == draft.tags["pliant.content"]
        }
        stale = {place: run for place, run in earlier.items() if place not in same}
        left = {place: run for place, run in stale.items() if place in drafts and self.writer.rewrites}
        self.discard([run for place, run in stale.items() if place not in left])
        whole = {place for place in same if earlier[place].info.status == "FINISHED"}
        changed = {place: draft for place, draft in drafts.items() if place not in whole}
        self.write(changed, left | {place: earlier[place] for place in same})
        return len(drafts)

    def emptied(self, runs: Mapping[str, Run]) -> dict[str, Run]:
        """Those of the runs that may be written again as if new; the others are given up."""
        kept = {name: run for name, run in runs.items() if self.writer.rewrites or run.info.status == "RUNNING"}
        self.discard([run for name, run in runs.items() if name not in kept])
        return kept

    def discard(self, runs: Sequence[Run]) -> None:
        """Delete runs and mark them, so that `bring_back` leaves them alone."""
        for run in runs:
            self.client.set_tag(run.info.run_id, "pliant.kind", REPLACED)
            self.client.delete_run(run.info.run_id)

    def create(self, drafts: Sequence[Draft]) -> list[str]:
        runs = self.writer.create(self.experiment.experiment_id, drafts)
        self.created.update(runs)
        return runs

    def fill(self, drafts: Mapping[str, Draft]) -> None:
        self.writer.fill(drafts)
        self.updated.update(drafts)

    def nest(self, run: Run, parent: str) -> None:
        if run.data.tags.get(PARENT) != parent:
            self.tag(run.info.run_id, {PARENT: parent})

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.writer.tag(run_id, {name: value[:TAG_LENGTH] for name, value in tags.items()})
        self.updated.add(run_id)

    def describe_experiment(self, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            if self.experiment.tags.get(name) != value:
                self.client.set_experiment_tag(self.experiment.experiment_id, name, value)

    def keep(self, run: Run, name: str, content: bytes) -> None:
        """Keep a file with a run: where the server will look for it, which may not be up, or through it."""
        place = run.info.artifact_uri
        if self.files is not None and place.startswith(RELATIVE):
            Storage(self.files).write_bytes(f"{place.removeprefix(RELATIVE).strip('/')}/{name}", content)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, Path(name).name)
            path.write_bytes(content)
            folder_there = name.rpartition("/")[0] or None
            self.client.log_artifact(run.info.run_id, str(path), folder_there)
