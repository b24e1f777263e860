"""Whether the broker takes messages, and who consumes the queues. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .verdicts import Check

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

#: What is worse on a transport than on Redis or RabbitMQ.
LIMITED = {
    "sqla": "Celery calls it experimental: workers ask their tables for messages, and answer no"
    " questions",
    "filesystem": "it is for one machine: workers look into a folder for messages",
    "memory": "messages stay in the process that sends them, so no other process gets any",
    "sqs": "workers answer no questions, and queues have no exact length",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """State of the broker: why it takes no messages, or "", and the consumers of each queue.

    `consumers` is queue → number of workers, None where no worker answered in time. `asked` is
    false where the transport cannot ask workers. `blocked` is true where RabbitMQ answers, and
    blocks publishers. With `eager`, tasks run where they are called, and there is no broker.
    """

    unreachable: str = ""
    consumers: Mapping[str, int] | None = None
    transport: str = ""
    asked: bool = True
    blocked: bool = False
    eager: bool = False


def broker(state: Broker | None) -> Check:
    """Return whether the broker takes messages; `state` is None where Celery is not used."""
    if state is None:
        detail = (
            "Celery is not used: run `integrity drain --forever`,"
            " or `integrity drain` and `integrity scan` from a timer"
        )
        return Check(name="broker", ok=True, detail=detail)
    detail = "answers"
    if state.eager:
        detail = (
            "not used: CELERY_TASK_ALWAYS_EAGER is set, so that work is done in the process that"
            " deletes, and workers get nothing to do"
        )
    elif state.blocked:
        detail = f"{state.unreachable}. Free its memory or its disk. Deletions wait in the log"
    elif state.unreachable:
        detail = f"cannot be reached: {state.unreachable}. Deletions wait in the log"
    elif state.transport in LIMITED:
        detail = f"answers, by the transport {state.transport!r}: {LIMITED[state.transport]}"
    return Check(name="broker", ok=not state.unreachable, detail=detail)


def queue(name: str, consumers: Mapping[str, int] | None, ours: Collection[str]) -> Check:
    """Return whether a worker consumes a queue; `ours` are the queues of this app."""
    number = (consumers or {}).get(name, 0)
    detail = f"workers: {number}"
    if not number:
        others = sorted({*(consumers or ())} - {*ours})
        why = "no worker answers" if consumers is None else "no worker consumes it"
        if others and not {*ours}.intersection(consumers or ()):
            why += f": a worker without -Q consumes {', '.join(others)} only"
        detail = f"{why}. Start one with `celery -A PROJECT worker -Q {name}`"
    return Check(name=f"queue {name}", ok=number > 0, detail=detail)
