"""The picture of relations that code hosts draw: its structure, and that no name can break it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from apps.integrity.management.mermaid import flowchart
from apps.integrity.report import catalogue

BOX = re.compile(r'  subgraph (\w+)\["([^"]*)"\]')
NODE = re.compile(r'    (\w+)\["([^"]*)"\]')
EDGE = re.compile(r'  (\w+) -->\|"([^"]*)"\| (\w+)')


def row(relation: str, child_database: str, **changes: str) -> catalogue.RelationRow:
    made: catalogue.RelationRow = {
        "relation": relation,
        "child_database": child_database,
        "parent": "auth.User",
        "parent_database": "default",
        "policy": "CASCADE",
        "indexed": True,
        "plan": "",
        "why": "",
        "last_full_scan": None,
    }
    return {**made, **changes}  # type: ignore[typeddict-item]


class Chart:
    """A flowchart, read back; every line must be one of those that Mermaid knows."""

    def __init__(self, text: str) -> None:
        first, *lines = text.splitlines()
        assert first == "flowchart LR"
        self.boxes: dict[str, list[str]] = {}
        self.nodes: dict[str, tuple[str, str]] = {}
        self.edges: list[tuple[str, str, str]] = []
        inside: tuple[str, str] | None = None
        for line in lines:
            if line == "  end":
                assert inside
                inside = None
            elif found := BOX.fullmatch(line):
                assert inside is None
                assert found[1] not in self.boxes
                inside = (found[1], found[2])
                self.boxes[found[1]] = [found[2]]
            elif found := NODE.fullmatch(line):
                assert inside
                assert found[1] not in self.nodes
                name = found[2].replace("#64;", "@")  # as Mermaid shows it
                self.nodes[found[1]] = (inside[1], name)
                self.boxes[inside[0]].append(name)
            else:
                found = EDGE.fullmatch(line)
                assert found, line
                self.edges.append((found[1], found[2], found[3]))
        assert inside is None
        assert not self.boxes.keys() & self.nodes.keys()


def test_databases_with_their_models_and_an_edge_for_each_relation() -> None:
    chart = Chart(
        flowchart(
            [
                row("blog.Comment.author", "blog_db"),
                row("blog.Post.author", "blog_db", policy="SET_NULL"),
                row("shop.Order.customer", "shop_db", policy="PROTECT"),
                row("ads.Click.post", "shop_db", parent="blog.Post", parent_database="blog_db"),
            ]
        )
    )
    assert sorted(chart.boxes.values()) == [
        ["blog_db", "blog.Comment.author", "blog.Post.author"],
        ["blog_db", "blog.Post"],
        ["default", "auth.User"],
        ["shop_db", "shop.Order.customer", "ads.Click.post"],
    ]
    edges = [(chart.nodes[one], policy, chart.nodes[other]) for one, policy, other in chart.edges]
    assert edges == [
        (("default", "auth.User"), "CASCADE", ("blog_db", "blog.Comment.author")),
        (("default", "auth.User"), "SET_NULL", ("blog_db", "blog.Post.author")),
        (("default", "auth.User"), "PROTECT", ("shop_db", "shop.Order.customer")),
        (("blog_db", "blog.Post"), "CASCADE", ("shop_db", "ads.Click.post")),
    ]


def test_the_relations_of_this_project() -> None:
    rows = catalogue.relation_rows()
    chart = Chart(flowchart(rows))
    drawn = Counter(
        (chart.nodes[one], policy, chart.nodes[other]) for one, policy, other in chart.edges
    )
    assert drawn == Counter(
        (
            (each["parent_database"], each["parent"]),
            each["policy"],
            (each["child_database"], each["relation"]),
        )
        for each in rows
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('a"] --> b["', "a#34;#93; --#62; b#91;#34;"),
        ("two\nend", "two#10;end"),
        ("<img src=x>", "#60;img src#61;x#62;"),
        ("`code`", "#96;code#96;"),
        ("#quot;", "#35;quot#59;"),
        ("%%{init}%%", "#37;#37;#123;init#125;#37;#37;"),
        ("Bücher", "Bücher"),
    ],
)
def test_no_name_ends_its_label(name: str, shown: str) -> None:
    chart = Chart(flowchart([row(name, name, parent=name, parent_database=name, policy=name)]))
    assert set(chart.nodes.values()) == {(shown, shown)}
    assert [policy for _, policy, _ in chart.edges] == [shown]


def test_without_relations_it_is_an_empty_flowchart() -> None:
    assert flowchart([]) == "flowchart LR"
