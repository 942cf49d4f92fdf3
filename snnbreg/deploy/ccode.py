"""C99 from a deployed network: event-driven, without heap, all sizes known when it is compiled.

Within a step the sums have the order of ``simulator``: the bias, then feed-forward events, then
recurrent spikes in the order in which they were sent. Compiled without contraction of products and
sums (``-ffp-contract=off``) floats are equal to the simulator's bit for bit; integers always are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnbreg.deploy.decisions import (
    POWER_BITS,
    POWERS,
    SHARE_BITS,
    TABLE_BITS,
    exponent_factor,
)
from snnbreg.deploy.network import DeployedNetwork, Layer
from snnbreg.deploy.simulator import SHIFT
from snnbreg.deploy.tables import (
    Matrix,
    Table,
    Waiting,
    c_number,
    c_type,
    index_type,
    matrices,
    same,
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
    """
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
        parts.append(_state(network, i, layer))
        resets += _cleared(network, i)
        for matrix in own:
            parts.append(_walk(network, i, layer, matrix))
            ring = waiting(matrix)
            if ring is not None:
                parts.append(_ring(network, matrix, ring))
                resets += [f"memset({matrix.name}_filled, 0, sizeof {matrix.name}_filled)",
                           f"{matrix.name}_slot = 0"]  # fmt: skip
                advances.append(_advance(matrix))
        parts.append(_layer(network, i, layer, own))
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


def _number(network: DeployedNetwork) -> str:
    return "int32_t" if network.integer else "float"


def _fires(network: DeployedNetwork, i: int) -> bool:
    return i < len(network.layers) or network.readout_kind == "spiking"


def _state(network: DeployedNetwork, i: int, layer: Layer) -> str:
    number, n = _number(network), layer.neurons
    kind = "hidden" if i < len(network.layers) else f"{network.readout_kind} readout"
    lines = [
        f"/* layer {i}: {n} neurons, {kind} */",
        f"static {number} v{i}[{n}], current{i}[{n}];",
    ]
    if layer.gain is not None:
        lines.append(f"static {number} input{i}[{n}];")
    if _fires(network, i):
        lines.append(f"static int32_t fired{i}[{n}];")
        lines.append(f"static {c_type(index_type(n))} spikes{i}[{n + 1}];")
        lines.append(f"static unsigned count{i};")
    return "\n".join(lines)


def _cleared(network: DeployedNetwork, i: int) -> list[str]:
    found = [f"memset(v{i}, 0, sizeof v{i})"]
    return [*found, f"count{i} = 0"] if _fires(network, i) else found


def _counted(matrix: Matrix) -> bool:
    """Whether its events are counts, as those of the input are."""
    return matrix.name == "w0"


def _walk(network: DeployedNetwork, i: int, layer: Layer, matrix: Matrix) -> str:
    """The function that adds one list, or one row, to the currents."""
    name, target = matrix.name, f"current{i}"
    if layer.gain is not None and name[0] == "w":
        target = f"input{i}"
    counted = _counted(matrix)
    value = f", {_number(network)} x" if counted else ""
    times = "x * " if counted else ""
    if matrix.rows:
        return f"""\
static void {name}_add(unsigned sender{value})
{{
    const {Table("", matrix.synapses.weight).ctype} *weight = {name}_weight[sender];
    unsigned i;
    for (i = 0; i < {layer.neurons}; ++i)
        {target}[i] += {times}weight[i];
}}
"""
    return f"""\
static void {name}_add(unsigned list{value})
{{
    unsigned k, end = {name}_start[list + 1];
    for (k = {name}_start[list]; k < end; ++k)
        {target}[{name}_receiver[k]] += {times}{name}_weight[k];
}}
"""


def _ring(network: DeployedNetwork, matrix: Matrix, ring: Waiting) -> str:
    """The lists on their way, by the step in which they arrive."""
    name, synapses = matrix.name, matrix.synapses
    slots, lists, ctype = ring.slots, ring.lists, c_type(ring.number)
    counted = ring.counted
    delay = f" + {name}_delay[list]" if synapses.longest_delay else ""
    later = "1u" if name[0] == "u" else "0u"
    first, last = "sender", "sender"
    if not synapses.one_list_per_sender:
        first, last = f"{name}_lists[sender]", f"{name}_lists[sender + 1] - 1u"
    body = f"""\
        unsigned slot = {name}_slot + {later}{delay};
        if (slot >= {slots}u)
            slot -= {slots}u;
"""
    body += f"        {name}_value[slot][{name}_filled[slot]] = x;\n" if counted else ""
    body += f"        {name}_waiting[slot][{name}_filled[slot]++] = ({ctype})list;\n"
    loop = f"    unsigned list = {first}, end = {last} + 1u;\n    for (; list < end; ++list) {{\n"
    if synapses.one_list_per_sender:
        loop, body = "    {\n        unsigned list = sender;\n", body
    value, given = (
        (", uint8_t x", _input_value(network, f"{name}_value[{name}_slot][k]"))
        if counted
        else ("", "")
    )
    values = f"static uint8_t {name}_value[{slots}][{lists}];\n" if counted else ""
    return f"""\
static {ctype} {name}_waiting[{slots}][{lists}];
{values}static {c_type(ring.filled)} {name}_filled[{slots}];
static unsigned {name}_slot;

static void {name}_send(unsigned sender{value})
{{
{loop}{body}    }}
}}

static void {name}_arrive(void)
{{
    unsigned k, end = {name}_filled[{name}_slot];
    for (k = 0; k < end; ++k)
        {name}_add({name}_waiting[{name}_slot][k]{", " + given if given else ""});
    {name}_filled[{name}_slot] = 0;
}}
"""


def _advance(matrix: Matrix) -> str:
    slots = matrix.synapses.longest_delay + 1
    return (
        f"{matrix.name}_slot = {matrix.name}_slot + 1u == {slots}u ? 0u : {matrix.name}_slot + 1u"
    )


def _input_value(network: DeployedNetwork, count: str) -> str:
    if network.integer:
        return count
    scale = " * INPUT_SCALE" if network.input_scale != 1.0 else ""
    return f"(float){count}{scale}"


def _layer(network: DeployedNetwork, i: int, layer: Layer, own: list[Matrix]) -> str:
    """One layer in one step: gather, charge, fire."""
    n, integer = layer.neurons, network.integer
    names = {matrix.name[0]: matrix for matrix in own}
    arguments, unused = "void", ""
    if i == 0:
        arguments = "const uint16_t *channel, const uint8_t *count, unsigned events"
        unused = "" if "w" in names else "    (void)channel, (void)count, (void)events;\n"
    lines = [f"static void layer{i}({arguments})", "{", "    unsigned i, k;"]
    if integer:
        lines.append(f"    memset(current{i}, 0, sizeof current{i});")
        if layer.gain is not None:
            lines.append(f"    memset(input{i}, 0, sizeof input{i});")
    else:
        lines.append(f"    memcpy(current{i}, bias{i}, sizeof current{i});")
    lines.append(unused + _gather(network, i, names))
    lines.append(_charge(network, i, layer))
    if _fires(network, i):
        lines += [_collect(i, n), f"    count{i} = k;"]
        if i < len(network.layers):
            lines.append(f"    network_spikes[{i}] += k;")
        if "u" in names:
            lines += [f"    for (k = 0; k < count{i}; ++k)", f"        u{i}_send(spikes{i}[k]);"]
    else:
        lines.append("    (void)k;")
    return "\n".join([*lines, "}", ""])


def _gather(network: DeployedNetwork, i: int, names: dict[str, Matrix]) -> str:
    lines = []
    if "w" in names:
        delayed = waiting(names["w"]) is not None
        call = f"w{i}_send" if delayed else f"w{i}_add"
        if i == 0:
            value = "count[k]" if delayed else _input_value(network, "count[k]")
            lines += ["    for (k = 0; k < events; ++k)", f"        {call}(channel[k], {value});"]
        else:
            lines += [f"    for (k = 0; k < count{i - 1}; ++k)",
                      f"        {call}(spikes{i - 1}[k]);"]  # fmt: skip
        if delayed:
            lines.append(f"    w{i}_arrive();")
    if "u" in names:
        lines.append(f"    u{i}_arrive();")
    return "\n".join(lines)


def _charge(network: DeployedNetwork, i: int, layer: Layer) -> str:
    n = layer.neurons
    forgets = i == len(network.layers) and network.readout_kind == "linear"
    if network.integer:
        kept = "" if forgets else f"leaked(v{i}[i]) + "
        charge = f"int32_t h = {kept}current{i}[i] * UNIT + bias{i}[i]"
        if layer.gain is not None:
            charge += f" + gained(input{i}[i], gain{i}[i])"
    else:
        kept = "" if forgets else f"LEAK * v{i}[i] + "
        charge = f"float h = {kept}current{i}[i]"
    lines = [f"    for (i = 0; i < {n}; ++i) {{", f"        {charge};"]
    if _fires(network, i):
        one = same(layer.threshold)
        threshold = c_number(layer.threshold[0]) if one else f"threshold{i}[i]"
        lines.append(f"        int32_t fire = h >= {threshold};")
        if network.integer:
            reset = f"h - (-fire & {threshold})" if network.reset == "soft" else "h & (fire - 1)"
        else:
            after = f"h - {threshold}" if network.reset == "soft" else "0.0f"
            reset = f"fire ? {after} : h"
        lines += [f"        v{i}[i] = {reset};", f"        fired{i}[i] = fire;"]
    else:
        lines.append(f"        v{i}[i] = h;")
    return "\n".join([*lines, "    }"])


def _collect(i: int, neurons: int) -> str:
    """Who fired: most groups of eight have nobody, the others are gone through without branches."""
    ctype = c_type(index_type(neurons))
    return f"""\
    for (i = 0, k = 0; i + 8 <= {neurons}; i += 8) {{
        const int32_t *f = fired{i} + i;
        unsigned j;
        if ((f[0] | f[1] | f[2] | f[3] | f[4] | f[5] | f[6] | f[7]) == 0)
            continue;
        for (j = 0; j < 8; ++j) {{
            spikes{i}[k] = ({ctype})(i + j);
            k += (unsigned)f[j];
        }}
    }}
    for (; i < {neurons}; ++i) {{
        spikes{i}[k] = ({ctype})i;
        k += (unsigned)fired{i}[i];
    }}"""


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
