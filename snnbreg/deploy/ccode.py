"""C99 from a deployed network: event-driven, without heap, all sizes known when it is compiled.

Within a step the sums have the order of ``simulator``: the bias, then feed-forward events, then
recurrent spikes in the order in which they were sent. Compiled without contraction of products and
sums (``-ffp-contract=off``) floats are equal to the simulator's bit for bit; integers always are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnbreg.deploy.clayers import advance, cleared, layer_step, ring_text, state, walk
from snnbreg.deploy.decisions import (
    POWER_BITS,
    POWERS,
    SHARE_BITS,
    TABLE_BITS,
    exponent_factor,
)
from snnbreg.deploy.file import check_network
from snnbreg.deploy.network import DeployedNetwork
from snnbreg.deploy.simulator import SHIFT
from snnbreg.deploy.tables import (
    Table,
    c_number,
    matrices,
    tables,
    waiting,
)

SOURCES = Path(__file__).parent / "c"
FIXED = ("check.c", "Makefile")
GENERATED = ("network.h", "network.c", "tables.h")


def write_program(folder: Path, network: DeployedNetwork, layout: str = "auto") -> None:
    """Write the C sources and a Makefile into a folder.

    Args:
        folder: made if it is not there.
        network: as ``convert``, ``quantize`` or ``read_network`` return it.
        layout: ``auto``, ``lists`` or ``rows``, see ``tables``.

    Raises:
        ValueError: an unknown layout, or a network that would read out of bounds; nothing is
            written.
    """
    check_network(network)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FIXED:
        (folder / name).write_text((SOURCES / name).read_text())
    (folder / "network.h").write_text(header(network))
    (folder / "tables.h").write_text(constants(network, layout))
    (folder / "network.c").write_text(program(network, layout))


def header(network: DeployedNetwork) -> str:
    """``network.h``: the sizes and the four functions."""
    sizes = {
        "INPUTS": network.inputs,
        "CLASSES": network.classes,
        "STEPS": network.steps,
        "LAYERS": len(network.layers),
        "INTEGER": int(network.integer),
        "CLASS_EACH_STEP": int(network.decision == "step"),
    }
    defines = "\n".join(f"#define NETWORK_{name} {value}" for name, value in sizes.items())
    score = "int64_t" if network.integer else "double"
    return f"""\
/* Made by snnbreg export; docs/deploy.md says what is in it. */
#ifndef NETWORK_H
#define NETWORK_H
#include <stdint.h>

{defines}

typedef {score} network_score;

/* Forget everything: call it before each recording. */
void network_reset(void);

/* One time step: the channels with events, each once, and how many each. At most NETWORK_STEPS
   steps between two resets. Returns 0, or -1 where an argument is out of range and nothing is
   done. */
int network_step(const uint16_t *channel, const uint8_t *count, unsigned events);

/* The class so far: that of the recording after its last step, or of the last step where each
   step has one. */
int network_class(void);

extern network_score network_scores[NETWORK_CLASSES]; /* the class is the largest of them */
extern uint32_t network_spikes[NETWORK_LAYERS];       /* spikes since the reset, by layer */

#endif
"""


def constants(network: DeployedNetwork, layout: str) -> str:
    """``tables.h``: what never changes."""
    parts = [table.text() for table in tables(network, layout)]
    if network.integer and network.decision == "softmax_sum":
        parts.append(Table("powers", POWERS.astype(np.int32)).text())
    return "\n".join(["/* Constants of network.c. */", "#include <stdint.h>", "", *parts, ""])


def program(network: DeployedNetwork, layout: str) -> str:
    """``network.c``: state, layers, decision and steps."""
    parts, resets, advances = [_head(network)], [], []
    for i, layer, own in matrices(network, layout):
        own = [matrix for matrix in own if len(matrix.synapses.weight)]
        parts.append(state(network, i, layer, own))
        resets += cleared(network, i)
        for matrix in own:
            parts.append(walk(network, i, layer, matrix))
            ring = waiting(matrix)
            if ring is not None:
                parts.append(ring_text(network, matrix, ring))
                resets += [f"memset({matrix.name}_filled, 0, sizeof {matrix.name}_filled)",
                           f"{matrix.name}_slot = 0"]  # fmt: skip
                advances.append(advance(matrix))
        parts.append(layer_step(network, i, layer, own))
    parts.append(_decision(network))
    parts.append(_steps(network, resets, advances))
    return "\n".join(parts)


def _head(network: DeployedNetwork) -> str:
    libraries = ["#include <string.h>"]
    if not network.integer and network.decision == "softmax_sum":
        libraries.insert(0, "#include <math.h>")
    lines = [
        "/* Made by snnbreg export: a spiking network, event by event. */",
        *libraries,
        '#include "network.h"',
        '#include "tables.h"',
        "",
    ]
    if not network.integer:
        lines.append(f"#define LEAK {c_number(np.float32(network.leak))}")
        if network.input_scale != 1.0:
            lines.append(f"#define INPUT_SCALE {c_number(np.float32(network.input_scale))}")
    else:
        lines += [
            f"#define LEAK {round(network.leak * 2**SHIFT)} /* times 2^-{SHIFT} */",
            f"#define UNIT {2**network.fraction} /* of a membrane, one unit of a weight */",
            _FLOOR,
        ]
        if any(layer.gain is not None for layer in network.layers):
            lines.append(_GAINED)
    lines += ["", "network_score network_scores[NETWORK_CLASSES];",
              "uint32_t network_spikes[NETWORK_LAYERS];", "static unsigned steps;", ""]  # fmt: skip
    return "\n".join(lines)


_FLOOR = """
/* floor(LEAK v / 2^15) in 32 bits, without shifting a negative number */
static int32_t leaked(int32_t v)
{
    int32_t high = (int32_t)(((uint32_t)v + 0x80000000u) >> 15) - 65536;
    int32_t low = (int32_t)((uint32_t)v & 32767u);
    return high * LEAK + ((low * LEAK) >> 15);
}"""


_GAINED = """\
/* floor(g x / 2^15) */
static int32_t gained(int32_t x, int32_t g)
{
    int64_t product = (int64_t)x * g;
    return (int32_t)(product >= 0 ? product / 32768 : -((32767 - product) / 32768));
}
"""


def _decision(network: DeployedNetwork) -> str:
    """What the outputs of a step, in v or fired of the last layer, do to the scores."""
    last, k = len(network.layers), network.classes
    output = f"fired{last}[i]" if network.readout_kind == "spiking" else f"v{last}[i]"
    if network.decision in ("sum", "last", "step"):
        sign = "+=" if network.decision == "sum" else "="
        body = f"    for (i = 0; i < {k}; ++i)\n        network_scores[i] {sign} {output};"
        return f"static void decide(void)\n{{\n    unsigned i;\n{body}\n}}\n"
    if not network.integer:
        return f"""\
static void decide(void)
{{
    double power[{k}], total = 0.0, most = {output.replace("[i]", "[0]")};
    unsigned i;
    for (i = 1; i < {k}; ++i)
        if ({output} > most)
            most = {output};
    for (i = 0; i < {k}; ++i) {{
        power[i] = exp((double){output} - most);
        total += power[i];
    }}
    for (i = 0; i < {k}; ++i)
        network_scores[i] += power[i] / total;
}}
"""
    return f"""\
/* softmax in whole numbers: 2^-z by a table and shifts, shares as multiples of 2^-{SHARE_BITS} */
static void decide(void)
{{
    int64_t power[{k}], total = 0, most = {output.replace("[i]", "[0]")};
    unsigned i;
    for (i = 1; i < {k}; ++i)
        if ({output} > most)
            most = {output};
    for (i = 0; i < {k}; ++i) {{
        int64_t below = most - {output};
        int64_t near = below > 2147483647 ? 2147483647 : below;
        int64_t z = near * {exponent_factor(network)} / 65536;
        int64_t shift = z >> {TABLE_BITS};
        shift = shift > {POWER_BITS + 1} ? {POWER_BITS + 1} : shift;
        power[i] = powers[z & {2**TABLE_BITS - 1}] >> shift;
        total += power[i];
    }}
    for (i = 0; i < {k}; ++i)
        network_scores[i] += power[i] * {2**SHARE_BITS} / total;
}}
"""


def _steps(network: DeployedNetwork, resets: list[str], advances: list[str]) -> str:
    layers = "".join(
        f"    layer{i}({'channel, count, events' if i == 0 else ''});\n"
        for i in range(len(network.layers) + 1)
    )
    moves = "".join(f"    {line};\n" for line in advances)
    clears = "".join(f"    {line};\n" for line in resets)
    highest = network.input_max
    limit = f" || count[k] > {highest}" if highest < 255 else ""
    return f"""\
void network_reset(void)
{{
{clears}    memset(network_scores, 0, sizeof network_scores);
    memset(network_spikes, 0, sizeof network_spikes);
    steps = 0;
}}

int network_step(const uint16_t *channel, const uint8_t *count, unsigned events)
{{
    unsigned k;
    if (steps >= NETWORK_STEPS || events > NETWORK_INPUTS)
        return -1;
    for (k = 0; k < events; ++k)
        if (channel[k] >= NETWORK_INPUTS || (k > 0 && channel[k] <= channel[k - 1]){limit})
            return -1;
{layers}    decide();
{moves}    ++steps;
    return 0;
}}

int network_class(void)
{{
    int best = 0, i;
    for (i = 1; i < NETWORK_CLASSES; ++i)
        if (network_scores[i] > network_scores[best])
            best = i;
    return best;
}}
"""
