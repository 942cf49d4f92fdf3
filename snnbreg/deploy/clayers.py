"""The parts of a C program that belong to one layer: its memory, its synapses, its step."""

from __future__ import annotations

from snnbreg.deploy.network import DeployedNetwork, Layer
from snnbreg.deploy.tables import (
    Matrix,
    Waiting,
    c_number,
    c_type,
    index_type,
    padded,
    same,
    waiting,
)

AT_ONCE = {False: 8, True: 4}
"""Rows in one pass over the receivers, of floats and of whole numbers: measured, as more need more
registers (``scripts/benchmark_deploy.py``)."""


def _number(network: DeployedNetwork) -> str:
    return "int32_t" if network.integer else "float"


def _fires(network: DeployedNetwork, i: int) -> bool:
    return i < len(network.layers) or network.readout_kind == "spiking"


def state(network: DeployedNetwork, i: int, layer: Layer, own: list[Matrix]) -> str:
    """Its memory but for what waits to arrive."""
    number, n = _number(network), layer.neurons
    wide = padded(n) if any(matrix.rows for matrix in own) else n
    kind = "hidden" if i < len(network.layers) else f"{network.readout_kind} readout"
    lines = [
        f"/* layer {i}: {n} neurons, {kind} */",
        f"static {number} v{i}[{n}], current{i}[{wide}];",
    ]
    if layer.gain is not None:
        lines.append(f"static {number} input{i}[{wide}];")
    if _fires(network, i):
        lines.append(f"static int32_t fired{i}[{n}];")
        lines.append(f"static {c_type(index_type(n))} spikes{i}[{n + 1}];")
        lines.append(f"static unsigned count{i};")
    return "\n".join(lines)


def cleared(network: DeployedNetwork, i: int) -> list[str]:
    """Statements that forget a recording."""
    found = [f"memset(v{i}, 0, sizeof v{i})"]
    return [*found, f"count{i} = 0"] if _fires(network, i) else found


def _counted(matrix: Matrix) -> bool:
    """Whether its events are counts, as those of the input are."""
    return matrix.name == "w0"


def walk(network: DeployedNetwork, i: int, layer: Layer, matrix: Matrix) -> str:
    """The function that adds the lists, or the rows, of some senders to the currents."""
    name, target, number = matrix.name, f"current{i}", _number(network)
    if layer.gain is not None and name[0] == "w":
        target = f"input{i}"
    ring, counted = waiting(matrix), _counted(matrix)
    sender = c_type(ring.number if ring else index_type(matrix.synapses.senders))
    if counted and ring is None:
        sender = "uint16_t"  # a channel
    counts = ", const uint8_t *count" if counted else ""
    times = "x * " if counted else ""
    value = f"const {number} x = {_input_value(network, 'count[k]')};" if counted else ""
    head = f"static void {name}_gather(const {sender} *sender{counts}, unsigned senders)\n{{\n"
    if not matrix.rows:
        return f"""\
{head}    unsigned i, k, end;
    for (k = 0; k < senders; ++k) {{
        {value}
        end = {name}_start[sender[k] + 1];
        for (i = {name}_start[sender[k]]; i < end; ++i)
            {target}[{name}_receiver[i]] += {times}{name}_weight[i];
    }}
}}
"""
    return f"{head}{_rows(network, layer, matrix, target)}"


def _rows(network: DeployedNetwork, layer: Layer, matrix: Matrix, target: str) -> str:
    """The body of a function that adds rows: several in one pass over the receivers, in order."""
    ctype, number, counted = (
        c_type(matrix.synapses.weight.dtype),
        _number(network),
        _counted(matrix),
    )
    several = AT_ONCE[network.integer]
    given, terms = [], []
    for j in range(several):
        given.append(f"const {ctype} *r{j} = {matrix.name}_weight[sender[k + {j}]];")
        if counted:
            given.append(f"const {number} x{j} = {_input_value(network, f'count[k + {j}]')};")
        terms.append(f"x{j} * r{j}[i]" if counted else f"r{j}[i]")
    lines = "\n        ".join(given)
    first = "\n        ".join(given[: len(given) // several])
    return f"""\
    unsigned i, k;
    for (k = 0; k + {several} <= senders; k += {several}) {{
        {lines}
        for (i = 0; i < {padded(layer.neurons)}; ++i)
            {target}[i] = {"(" * (several - 1)}{target}[i] + {") + ".join(terms)};
    }}
    for (; k < senders; ++k) {{
        {first}
        for (i = 0; i < {padded(layer.neurons)}; ++i)
            {target}[i] += {terms[0]};
    }}
}}
"""


def ring_text(network: DeployedNetwork, matrix: Matrix, ring: Waiting) -> str:
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
    value, given = (", uint8_t x", f", {name}_value[{name}_slot]") if counted else ("", "")
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
    {name}_gather({name}_waiting[{name}_slot]{given}, {name}_filled[{name}_slot]);
    {name}_filled[{name}_slot] = 0;
}}
"""


def advance(matrix: Matrix) -> str:
    """The statement that moves a ring to the next step."""
    slots = matrix.synapses.longest_delay + 1
    return (
        f"{matrix.name}_slot = {matrix.name}_slot + 1u == {slots}u ? 0u : {matrix.name}_slot + 1u"
    )


def _input_value(network: DeployedNetwork, count: str) -> str:
    if network.integer:
        return count
    scale = " * INPUT_SCALE" if network.input_scale != 1.0 else ""
    return f"(float){count}{scale}"


def layer_step(network: DeployedNetwork, i: int, layer: Layer, own: list[Matrix]) -> str:
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
        lines.append(f"    memcpy(current{i}, bias{i}, sizeof bias{i});")
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
    senders, count = ("channel", "events") if i == 0 else (f"spikes{i - 1}", f"count{i - 1}")
    if "w" in names and waiting(names["w"]) is not None:
        value = ", count[k]" if i == 0 else ""
        lines += [f"    for (k = 0; k < {count}; ++k)", f"        w{i}_send({senders}[k]{value});",
                  f"    w{i}_arrive();"]  # fmt: skip
    elif "w" in names:
        lines.append(f"    w{i}_gather({senders}, {'count, ' if i == 0 else ''}{count});")
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
