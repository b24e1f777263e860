"""Draw the results as SVG, readable on light and on dark pages.

The same document always results in the same files, so their diffs show only new data.
"""

# ruff: noqa: RUF001 - typographic signs

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    ResultsById = Mapping[str, Mapping[str, Any]]

#: A grey that is readable on white and on black, and colours of the same brightness.
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
    """Draw the plots for which the document has results into `folder`; keep the others."""
    results = {result["id"]: result for result in document["results"]}
    for name, (wanted, picture) in PICTURES.items():
        if wanted in results:
            with mpl.rc_context(STYLE):
                figure = Figure(figsize=INCHES, layout="constrained")
                FigureCanvasSVG(figure)
                picture(figure, results)
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _request(figure: Figure, results: ResultsById) -> None:
    axes = _axes(figure, "user.delete(), median", "dependants of the user", "milliseconds")
    sizes = sorted(
        (int(name.partition(".")[2] or 0), result["detail"])
        for name, result in results.items()
        if name == "B1" or name.removeprefix("B1.").isdigit()
    )
    names = {
        "trigger": "this project, by trigger",
        "signal": "this project, by signal",
        "floor": "without relations",
        "handler": "handler that deletes",
    }
    for colour, (way, name) in zip(COLOURS, names.items(), strict=False):
        _line(axes, [(size, detail[way]) for size, detail in sizes], name, colour)
    axes.set_xscale("symlog", linthresh=100)
    axes.set_yscale("log")
    axes.legend()


def _giant(figure: Figure, results: ResultsById) -> None:
    _bars(
        figure, "One user with very many rows", "rows/s", results["B4"]["detail"]["rows_per_second"]
    )


def _many(figure: Figure, results: ResultsById) -> None:
    figures = results["B5"]["detail"]["users_per_second"]
    _bars(figure, "Many users with a little content", "users/s", figures, logarithmic=True)


def _growth(figure: Figure, results: ResultsById) -> None:
    axes = _axes(figure, "Time for each, as the work grows", "times as much", "times as long")
    names = {"B8": "one large user", "B8.many": "many users", "B8.scan": "a scan"}
    for colour, (result_id, name) in zip(COLOURS, names.items(), strict=False):
        if result_id in results:
            seconds = results[result_id]["detail"]["seconds"]
            one = seconds["1"]["median"]
            points = [
                (int(times), {part: value / one for part, value in spread.items()})
                for times, spread in seconds.items()
            ]
            _line(axes, points, name, colour)
    _linear(axes)
    axes.legend()


def _scaling(figure: Figure, results: ResultsById) -> None:
    axes = _axes(figure, "Rows/s beside one worker and one database", "workers, databases", "×")
    kinds: dict[str, list[tuple[int, Mapping[str, float]]]] = {}
    for name, result in results.items():
        match name.split("."):
            case ["B9", number, kind, milliseconds]:
                key = f"{kind}, servers {milliseconds} ms away"
                figures = {
                    "median": result["ratio"],
                    "min": result["ratio"],
                    "max": result["ratio"],
                }
                if result["samples"]:
                    figures |= {"min": min(result["samples"]), "max": max(result["samples"])}
                one = {"median": 1.0, "min": 1.0, "max": 1.0}
                kinds.setdefault(key, [(1, one)]).append((int(number), figures))
    latencies = list(dict.fromkeys(kind.partition(", ")[2] for kind in kinds))
    for kind, points in kinds.items():
        style = "-" if kind.startswith("workers") else "--"
        colour = COLOURS[latencies.index(kind.partition(", ")[2])]
        _line(axes, sorted(points, key=lambda point: point[0]), kind, colour, style)
    _linear(axes)
    axes.legend(fontsize=8)


def _deadlines(figure: Figure, results: ResultsById) -> None:
    axes = _axes(figure, "Deadlines missed so far, at 95 % load", "hours", "deletions")
    detail = results["B17"]["detail"]
    for colour, (name, late) in zip(COLOURS, detail["late"].items(), strict=False):
        axes.plot(range(len(late)), late, color=colour, label=name)
    backlog = next(iter(detail["backlog"].values()))
    axes.plot(range(len(backlog)), backlog, color=INK, linewidth=0.8, label="backlog of both")
    axes.legend(fontsize=8)


def _linear(axes: Axes) -> None:
    axes.axline((1, 1), slope=1, color=INK, linestyle=":", linewidth=1, label="linear")
    axes.set_xticks([1, 2, 4])


#: File → the result that it needs, and the function that draws it.
PICTURES: dict[str, tuple[str, Callable[[Figure, ResultsById], None]]] = {
    "request": ("B1", _request),
    "giant": ("B4", _giant),
    "many": ("B5", _many),
    "growth": ("B8", _growth),
    "scaling": ("B9.2.workers.5", _scaling),
    "deadlines": ("B17", _deadlines),
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
    """Draw the medians, and a band from minimum to maximum."""
    x = [place for place, _ in points]
    low, middle, high = (
        [spread[part] for _, spread in points] for part in ("min", "median", "max")
    )
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
