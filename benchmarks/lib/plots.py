"""Results → SVG pictures beside them, readable on light and on dark pages.

Pure functions of the document: what is drawn twice is the same, so that a change shows new data.
"""

# ruff: noqa: RUF001 - signs as people write them

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    Found = Mapping[str, Mapping[str, Any]]

#: Grey that can be read on white and on black, and colours as bright as it.
INK = "#808891"
COLOURS = ("#2f8bc9", "#d9752b", "#3a9f6d", "#b86bb0", "#a9862c")
STYLE = {
    "svg.hashsalt": "benchmarks",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "savefig.transparent": True,
}
INCHES = (7.0, 3.4)


def draw(document: Mapping[str, Any], folder: Path) -> None:
    """Draw what the document has results for into `folder`; the other pictures stay."""
    found = {each["id"]: each for each in document["results"]}
    for name, (wanted, picture) in PICTURES.items():
        if wanted in found:
            with mpl.rc_context(STYLE):
                figure = Figure(figsize=INCHES, layout="constrained")
                FigureCanvasSVG(figure)
                picture(figure, found)
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _request(figure: Figure, found: Found) -> None:
    axes = _axes(figure, "user.delete(), median", "dependants of the user", "milliseconds")
    sizes = sorted(
        (int(name.partition(".")[2] or 0), each["detail"])
        for name, each in found.items()
        if name == "B1" or name.removeprefix("B1.").isdigit()
    )
    names = {
        "ours": "this project",
        "floor": "without relations",
        "handler": "handler that deletes",
    }
    for colour, (way, name) in zip(COLOURS, names.items(), strict=False):
        _line(axes, [(size, detail[way]) for size, detail in sizes], name, colour)
    axes.set_xscale("symlog", linthresh=100)
    axes.set_yscale("log")
    axes.legend()


def _giant(figure: Figure, found: Found) -> None:
    _bars(
        figure, "One user with very many rows", "rows/s", found["B4"]["detail"]["rows_per_second"]
    )


def _many(figure: Figure, found: Found) -> None:
    figures = found["B5"]["detail"]["users_per_second"]
    _bars(figure, "Many users with a little content", "users/s", figures, logarithmic=True)


def _growth(figure: Figure, found: Found) -> None:
    axes = _axes(figure, "Time for each, as the work grows", "times as much", "times as long")
    names = {"B8": "one large user", "B8.many": "many users", "B8.scan": "a scan"}
    for colour, (result, name) in zip(COLOURS, names.items(), strict=False):
        if result in found:
            seconds = found[result]["detail"]["seconds"]
            one = seconds["1"]["median"]
            points = [
                (int(times), {part: value / one for part, value in each.items()})
                for times, each in seconds.items()
            ]
            _line(axes, points, name, colour)
    _linear(axes)
    axes.legend()


def _scaling(figure: Figure, found: Found) -> None:
    axes = _axes(figure, "Rows/s beside one worker and one database", "workers, databases", "×")
    kinds: dict[str, list[tuple[int, Mapping[str, float]]]] = {}
    for name, each in found.items():
        match name.split("."):
            case ["B9", number, kind, milliseconds]:
                key = f"{kind}, servers {milliseconds} ms away"
                figures = {"median": each["ratio"], "min": each["ratio"], "max": each["ratio"]}
                if each["samples"]:
                    figures |= {"min": min(each["samples"]), "max": max(each["samples"])}
                one = {"median": 1.0, "min": 1.0, "max": 1.0}
                kinds.setdefault(key, [(1, one)]).append((int(number), figures))
    away = list(dict.fromkeys(kind.partition(", ")[2] for kind in kinds))
    for kind, points in kinds.items():
        style = "-" if kind.startswith("workers") else "--"
        colour = COLOURS[away.index(kind.partition(", ")[2])]
        _line(axes, sorted(points, key=lambda each: each[0]), kind, colour, style)
    _linear(axes)
    axes.legend(fontsize=8)


def _linear(axes: Axes) -> None:
    axes.axline((1, 1), slope=1, color=INK, linestyle=":", linewidth=1, label="linear")
    axes.set_xticks([1, 2, 4])


#: File → the result that must be there, and what draws it.
PICTURES: dict[str, tuple[str, Callable[[Figure, Found], None]]] = {
    "request": ("B1", _request),
    "giant": ("B4", _giant),
    "many": ("B5", _many),
    "growth": ("B8", _growth),
    "scaling": ("B9.2.workers.5", _scaling),
}


def _axes(figure: Figure, title: str, x: str, y: str) -> Axes:
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, axis="y")
    return axes


def _line(
    axes: Axes,
    points: Sequence[tuple[int, Mapping[str, float]]],
    name: str,
    colour: str,
    style: str = "-",
) -> None:
    """The medians, and a band from least to most."""
    x = [place for place, _ in points]
    low, middle, high = ([each[part] for _, each in points] for part in ("min", "median", "max"))
    axes.plot(x, middle, marker="o", markersize=4, color=colour, linestyle=style, label=name)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _bars(
    figure: Figure,
    title: str,
    unit: str,
    figures: Mapping[str, Mapping[str, float]],
    *,
    logarithmic: bool = False,
) -> None:
    axes = _axes(figure, title, unit, "")
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    names = [*figures][::-1]
    middle = [figures[name]["median"] for name in names]
    spread = [
        [figures[name]["median"] - figures[name]["min"] for name in names],
        [figures[name]["max"] - figures[name]["median"] for name in names],
    ]
    colours = [COLOURS[0] if _is_ours(name) else INK for name in names]
    labels = [f"{name}\n{value:,.0f}" for name, value in zip(names, middle, strict=True)]
    axes.barh(labels, middle, xerr=spread, color=colours, ecolor=COLOURS[1], height=0.6)
    if logarithmic:
        axes.set_xscale("log")


def _is_ours(name: str) -> bool:
    return name == "ours" or name.endswith(("worker", "workers"))
