"""How the pages render figures, times and states."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from ..dashboard import chart, svg, text
from ..report import filters, receipt_text, receipts
from ..report.guides import MARKUP

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    from django.template.context import Context
    from django.utils.safestring import SafeString

    from ..dashboard.keys import Keys
    from ..models import Deletion
    from ..models.outcome import InDatabase
    from ..report.filters import InOne
    from ..report.throughput import Throughput

register = template.Library()

DASH = "\u2013"

#: The look of each state. A word always stands beside the shape, so colour is never the only sign.
LOOKS = {
    **dict.fromkeys(("idle", "verified", "ok"), "good"),
    **dict.fromkeys(
        ("working", "running", "busy", "recorded", "dispatched", "cascaded", "pending", "done"),
        "busy",
    ),
    **dict.fromkeys(
        (
            *("waiting", "failing", "paused", "attention", "suspect"),
            *("missing", "unproven", "kept"),
        ),
        "attention",
    ),
    **dict.fromkeys(
        ("blocked", "hindered", "unreachable", "trouble", "silent", "engaged"), "trouble"
    ),
}


@register.filter
def counted(number: int) -> str:
    """Return a number with commas; "10,000+" if counting stopped."""
    return text.count(number)


@register.filter
def counted_all(number: int) -> str:
    """Return an exact number with commas."""
    return f"{number:,}"


@register.filter
def looked_up(key: str, values: dict[str, str]) -> str:
    """Return the value of that key, or ""."""
    return values.get(key, "")


@register.filter
def public(reason: str) -> str:
    """Return a reason without addresses of servers."""
    return text.public(reason)


@register.filter
def became(line: Mapping[str, Any]) -> str:
    """Return what became of the rows along one line of a receipt."""
    return receipt_text.became(line)


@register.filter
def prose(plain: str) -> SafeString:
    """Return text of a guide as HTML: code between backticks, and links to other guides."""
    parts = []
    end = 0
    for found in MARKUP.finditer(plain):
        parts += [plain[end : found.start()], _markup(found)]
        end = found.end()
    return format_html_join("", "{}", ((part,) for part in (*parts, plain[end:])))


def _markup(found: re.Match[str]) -> SafeString:
    """Return a guide's link or code as HTML."""
    if guide := found["guide"]:
        return format_html('guide <a href="../{}/">{}</a>', guide, guide)
    return format_html("<code>{}</code>", found["code"])


@register.filter
def utc(value: str | None) -> str | SafeString:
    """Return a moment of a receipt, which is printed and sent on, with its zone."""
    if not value:
        return DASH
    return format_html('<time datetime="{}">{}</time>', value, receipt_text.moment(value))


@register.filter
def key_for(row: Deletion, keys: Keys) -> str:
    """Return the key of a deletion's parent, as the account may see it."""
    return keys.key(row)


@register.filter
def name_for(row: Deletion, keys: Keys) -> str:
    """Return the parent's name and the key."""
    return keys.name(row)


@register.filter
def exact(cascade: InDatabase) -> bool:
    """Return whether the rows of a cascade are all that were changed."""
    return receipts.is_exact(cascade)


@register.filter
def span(seconds: float | None) -> str:
    """Return a duration; a dash for None."""
    return DASH if seconds is None else text.span(seconds)


@register.filter
def moment(value: dt.datetime | str | None) -> str | SafeString:
    """Return a point in time, to the second, with its zone; a dash for None."""
    if not value:
        return DASH
    when = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    local = f"{timezone.localtime(when):%Y-%m-%d %H:%M:%S\u00a0%Z}"
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), local)


@register.simple_tag(takes_context=True)
def ago(context: Context, value: dt.datetime | None) -> str | SafeString:
    """Return how long ago that was, with the moment itself on hover; a dash for None.

    By the clock that wrote it, if the page has its time as `as_of`.
    """
    if value is None:
        return DASH
    seconds = _seconds_since(value, context)
    return _time(value, f"{text.span(seconds)} ago" if seconds >= 0 else _ahead(-seconds))


@register.simple_tag(takes_context=True)
def until(context: Context, value: dt.datetime | None) -> str | SafeString:
    """Return in how long that is due, or that nobody has begun; as `ago`."""
    if value is None:
        return DASH
    seconds = _seconds_since(value, context)
    late = f"due for {text.span(seconds)}, and not begun"
    return _time(value, late if seconds >= 0 else _ahead(-seconds))


def _ahead(seconds: float) -> str:
    return f"in {text.span(seconds)}"


def _seconds_since(value: dt.datetime, context: Context) -> float:
    return float(((context.get("as_of") or timezone.now()) - value).total_seconds())


def _time(value: dt.datetime, words: str) -> SafeString:
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    title = f"{local:%Y-%m-%d %H:%M:%S %Z}".strip()
    return format_html('<time datetime="{}" title="{}">{}</time>', value.isoformat(), title, words)


@register.filter
def word(one: InOne) -> str:
    """Return the state of a cascade as the filters call it."""
    return filters.word(one)


@register.filter
def per_second(rate: float) -> str:
    """Return a rate, per second or per minute."""
    if not rate:
        return "0/s"
    return f"{rate * 60:,.1f}/min" if rate < 1 else f"{rate:,.1f}/s"


@register.simple_tag
def state(word: str) -> SafeString:
    """Return a state: its shape and its word."""
    return format_html(
        '<span class="ix-state ix-{look}">{shape}{word}</span>',
        look=(look := LOOKS.get(str(word), "calm")),
        shape=svg.shape(look),
        word=word,
    )


@register.simple_tag
def throughput_chart(finished: Throughput) -> SafeString:
    """Return the chart of a throughput."""
    return chart.throughput(finished)


@register.filter
def chart_unit(finished: Throughput) -> str:
    """Return what a bar of the chart counts."""
    return chart.unit(finished)


@register.simple_tag
def bar(share: float | None) -> SafeString:
    """Return the bar of a share."""
    return svg.bar(share)
