"""Cells of synthesised netlists: what they are, how many there are, and what place and route need not see."""

import json
import re
from collections import Counter
from typing import NamedTuple


__all__ = ["Area", "count_cells", "trim_carries"]


LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6,  # a CCU2C takes the place of two, a DPR16X4 of six
        "SB_LUT4": 1, "LUT1": 1, "LUT2": 1, "LUT3": 1, "ALU": 1, "RAM16SDP1": 1, "RAM16SDP2": 2, "RAM16SDP4": 4}
KINDS = {
    "flip_flops": r"TRELLIS_FF|SB_DFF\w*|DFF\w*",
    "block_rams": r"DP16KD|PDPW16KD|SB_RAM40_4K\w*|SDPB|SDPX9B|DPB|DPX9B|SP|SPX9|pROM",
    "single_port_rams": r"SB_SPRAM256KA",
    "multipliers": r"MULT\w+|SB_MAC16",
}


class Area(NamedTuple):
    """Cells of a netlist, before place and route."""
    luts: int  # LUT4 and what takes their place
    carries: int  # cells of carry chains
    flip_flops: int
    block_rams: int
    single_port_rams: int
    multipliers: int


def count_cells(cells):
    """Area of {type of cell: number}."""
    kinds = {kind: sum(number for cell, number in cells.items() if re.fullmatch(pattern, cell))
             for kind, pattern in KINDS.items()}
    return Area(luts=sum(LUTS.get(cell, 0) * number for cell, number in cells.items()),
                carries=sum(cells.get(cell, 0) for cell in ("CCU2C", "SB_CARRY", "ALU")), **kinds)


def trim_carries(path):
    """Open what of the ECP5's carry chains leads nowhere: for a carry that is a net, nextpnr adds a cell to the chain.

    ``path`` is a netlist of yosys' write_json, which is changed.
    """
    netlist = json.loads(path.read_text())
    cells = netlist["modules"]["top"]["cells"].values()
    uses = Counter(bit for cell in cells for bits in cell["connections"].values() for bit in bits)
    for cell in cells:
        if cell["type"] == "CCU2C":
            for port in ("CIN", "COUT"):
                bit, = cell["connections"][port]
                if isinstance(bit, int) and uses[bit] == 1:  # constants are no nets
                    cell["connections"][port] = ["x"]
    path.write_text(json.dumps(netlist))
