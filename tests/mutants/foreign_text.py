"""Mutations of what becomes of foreign text."""

from __future__ import annotations

from .mutation import Mutation

PLAIN = "apps/integrity/plain.py"
T_PLAIN = "tests/unit/test_plain.py"

MUTATIONS = (
    Mutation(
        "control-characters-pass",
        "escape codes of others reach a terminal, and a NUL the database",
        PLAIN,
        "if character.isprintable() and character not in INVISIBLE:",
        "if True:",
        (f"{T_PLAIN}::test_hostile_characters_are_shown_as_escapes",),
    ),
    Mutation(
        "a-reason-without-bound",
        "a message of 50 MB is stored and shown",
        PLAIN,
        "    sample = whole[: limit * SAMPLE]",
        "    sample, limit = whole, max(1, len(whole))",
        (f"{T_PLAIN}::test_the_whole_text_is_never_looked_at",),
    ),
    Mutation(
        "a-reason-in-prose",
        "personal data: what a server or a receiver says of an error quotes rows",
        PLAIN,
        "    words = [_class_name(error), code_of(error)]",
        "    words = [_class_name(error), code_of(error), str(error)]",
        (f"{T_PLAIN}::TestErrors::test_no_word_of_a_foreign_text",),
    ),
)
