#!/usr/bin/env python
"""Django's command line for this project."""

from __future__ import annotations

import os
import sys

try:
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
except ModuleNotFoundError:
    sys.exit(
        f"manage.py: no Django in {sys.executable}\n"
        "`./run up` installs it in .venv; then use .venv/bin/python manage.py"
    )


def main() -> None:
    """Run the command that the arguments name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if not any(argument.startswith("--settings") for argument in sys.argv):
        try:
            _ = settings.INSTALLED_APPS
        except ImproperlyConfigured as error:
            # Django would begin all the same, and end with another error.
            sys.exit(f"manage.py: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
