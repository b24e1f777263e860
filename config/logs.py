"""Format log records as JSON, one line per record."""

from __future__ import annotations

import datetime as dt
import json
import logging


class JsonFormatter(logging.Formatter):
    """Formats each record as one line, so a newline in a value cannot forge a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON document."""
        moment = dt.datetime.fromtimestamp(record.created, tz=dt.UTC)
        document = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document)
