"""Where counting and listing stop."""

from __future__ import annotations

#: Where pages stop counting: a number above it means "more than that".
COUNT_MAX = 10_000
#: A longer log is counted by the server's estimate.
EXACT_MAX = 100_000
#: Ids that a page of a list looks through where no index answers.
PAGE_IDS = 100_000
#: Rows of one page of a list.
PAGE_ROWS = 50
#: Missing keys that are shown of each relation.
SUSPECTS_SHOWN = 20
#: Cascades whose deletions a page of a list sorts by id, if they have at most `PAGE_IDS`.
PAGE_CASCADES = 10_000
#: Of so many of more cascades, the deletions tell where a page begins.
EDGE_CASCADES = 20
#: Deletions that a page of a list reads at once after the first ones, and in all.
PAGE_CHUNK, PAGE_LOOKED = 1_000, 20_000
#: Processes and claims that their page lists.
PROCESSES, CLAIMS = 100, 100
