"""The ledger of a sweep that still trains, read as if every pack under way had ended with its last commit."""

from __future__ import annotations

from collections.abc import Mapping

from sweep.ledger.commits import Done, Manifest, Named
from sweep.ledger.ledger import Ends, Ledger
from sweep.ledger.packs import progress
from sweep.ledger.shards import Columns, read_shard
from sweep.ledger.storage import Storage


class SoFar(Ledger):
    """For looking on: `ends` and `curves` have trials under way too, as `done` after the tasks they have completed.

    `done` and `failures` are those of `Ledger`. A file of results is fetched once, however often this is asked.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self.fetched: dict[tuple[str, str], bytes] = {}

    def done(self) -> dict[str, Done]:
        """See Ledger: what is under way is not done."""
        return {trial: done for trial, (done, _) in super()._ends()[0].items()}

    def _ends(self) -> tuple[Ends, Ends]:
        whole, stopped = super()._ends()
        for pack, files in self.files.listing().items():
            members = self.files.members(pack, files)
            newest = max(self.files.newest(pack, files), key=progress, default=None)
            if members is None or newest is None or newest.finished or len(members) != len(newest.statuses):
                continue
            for trial, status, tasks in zip(members, newest.statuses, newest.ended, strict=True):
                if tasks or status == "diverged":
                    as_if = "done" if status == "running" else status
                    whole.setdefault(trial, (Done(as_if, pack, newest.attempt, newest.time, tasks), newest))
        return whole, stopped

    def _read_shard(
        self, manifest: Manifest, shard: Named, wanted: Mapping[str, int], metrics: frozenset[str] | None
    ) -> tuple[Columns, list[str]]:
        place = manifest.pack, shard.file
        if place not in self.fetched:
            self.fetched[place] = self.files.whole(manifest.pack, shard)
        return read_shard(self.fetched[place], wanted, metrics)
