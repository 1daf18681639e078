"""Log output of a process: one line an entry on standard error.

Owns the form of the lines: text, or JSON with `LANECAST_LOG_FORMAT=json`, which has `trace_id` and `span_id` where
there are any: those that the entry was given, or of the current OpenTelemetry span. Neither tokens nor payloads are
logged.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class _JsonFormatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "severity": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update(_current_trace())
        entry.update({name: value for name, value in record.__dict__.items() if name not in _STANDARD_FIELDS})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _current_trace() -> dict[str, object]:
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def configure_logs(service: str) -> None:
    """Send the log of this process to standard error, from the level in `LANECAST_LOG_LEVEL` (default INFO) on."""
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("LANECAST_LOG_FORMAT") == "json":
        handler.setFormatter(_JsonFormatter(service))
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {service} %(name)s: %(message)s"))
    level = os.environ.get("LANECAST_LOG_LEVEL", "INFO").upper()
    known = level in logging.getLevelNamesMapping()
    logging.basicConfig(handlers=[handler], level=level if known else "INFO", force=True)
    if not known:
        logging.getLogger(__name__).warning("LANECAST_LOG_LEVEL is %r, which is no level: using INFO", level)
