"""Log records as one line of JSON each."""

from __future__ import annotations

import datetime as dt
import json
import logging


class JsonFormatter(logging.Formatter):
    """One record, one line: a newline in a value cannot start a forged record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON document."""
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
