"""`manage.py cleanup_orphaned`: scan every relation in full, and repair the orphans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import cleanup
from ..parser import Help
from ..verb import VerbCommand, examples

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """Scan, wait for the grace period, and repair. A dry run without `--apply`."""

    help = cleanup.HELP

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of the command, and its examples."""
        parser.formatter_class = Help
        parser.epilog = examples("cleanup_orphaned", cleanup)
        cleanup.add_arguments(parser)

    def handle(self, **options: Any) -> None:
        """Run it as a verb of `integrity` is run."""
        self.run_verb(cleanup, **options)
