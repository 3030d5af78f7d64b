"""Equations that are those of an LSTM, a GRU or a plain RNN, however they are written.

Each kind proposes weights for ONNX's node, read off the derivatives of the equations. What is
proposed is then compared with the equations at random places, in float64: only that decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnn_edge.capture.rolling.equations import NotPolynomialError
from rnn_edge.capture.rolling.gates import SIGMOID, Activation, Units, WrittenBody

# A gate that lets everything through: its sigmoid is 1 in float32.
_OPEN = 30.0


@dataclass(frozen=True)
class Recurrence:
    """A recurrent node in ONNX's layout, one direction, float64.

    Gates are stacked i, o, f, c for an LSTM and z, r, h for a GRU. ``w`` [gates * hidden, input],
    ``r`` [gates * hidden, hidden], ``b`` [2 * gates * hidden], ``p`` [3 * hidden] or None.
    """

    kind: str
    w: Tensor
    r: Tensor
    b: Tensor
    activations: tuple[Activation, ...]
    p: Tensor | None = None
    resets_after: bool = False

    def step(self, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        """ONNX's equations."""
        h = states[0]
        gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[self.kind]
        b_w, b_r = self.b.chunk(2)
        xs = (x @ self.w.T + b_w).chunk(gates, 1)
        hs = (h @ self.r.T + b_r).chunk(gates, 1)
        f, *others = self.activations
        if self.kind == "RNN":
            return [f(xs[0] + hs[0])]
        if self.kind == "GRU":
            z, r = f(xs[0] + hs[0]), f(xs[1] + hs[1])
            again = r * hs[2]
            if not self.resets_after:
                again = (r * h) @ self.r.chunk(3)[2].T + b_r.chunk(3)[2]
            return [(1 - z) * others[0](xs[2] + again) + z * h]
        c, zero = states[1], torch.zeros(h.shape[1], dtype=h.dtype)
        p_i, p_o, p_f = (zero,) * 3 if self.p is None else self.p.chunk(3)
        i, o, f_, g = (one + other for one, other in zip(xs, hs, strict=True))
        new = f(f_ + p_f * c) * c + f(i + p_i * c) * others[0](g)
        return [f(o + p_o * new) * others[1](new), new]


class _NoMatchError(Exception):
    """The equations are others."""


def recognise(body: WrittenBody) -> Recurrence | None:
    """What ``body`` is, if it is a standard cell."""
    propose = (_propose_lstm,) if len(body.states) == 2 else _OF_ONE_STATE
    for proposal in propose:
        try:
            found = proposal(body)
            if _is_proven(found, body):
                return found
        except (NotPolynomialError, _NoMatchError):
            continue
    return None


def _is_proven(found: Recurrence, body: WrittenBody) -> bool:
    batch, inputs, hidden = body.sizes
    random = torch.Generator().manual_seed(1)
    for scale in (0.3, 1.0, 4.0):
        x = scale * torch.randn(batch, inputs, generator=random, dtype=torch.float64)
        states = [scale * torch.randn(batch, hidden, generator=random, dtype=torch.float64)
                  for _ in body.states]  # fmt: skip
        for one, other in zip(found.step(x, states), body.run(x, states), strict=True):
            if not torch.allclose(one, other, rtol=1e-9, atol=1e-10):
                return False
    return True


@dataclass(frozen=True)
class _Gate:
    """The unit of each place of a gate; ``is_rest`` when the gate is 1 minus it."""

    places: Tensor
    is_rest: bool = False


def _propose_lstm(body: WrittenBody) -> Recurrence:
    new_h, new_c = body.states
    units = body.find_units()
    if units.of_units.any():
        raise _NoMatchError
    i, f, g = _read_cell_state(body, new_c, units)
    o, outer = _read_output(body, new_h, units)
    gates = [i, o, f, _Gate(g)]
    kind = _common_kind(units, [i, o, f])
    _must(not units.of_new_c[torch.cat([i.places, f.places, g])].any() and not units.of_c[g].any())
    peepholes = [_diagonal(units, units.of_c, i), _diagonal(units, units.of_new_c, o),
                 _diagonal(units, units.of_c, f)]  # fmt: skip
    _must(not units.of_c[o.places].any())
    p = torch.cat(peepholes)
    w, r, b = (torch.cat([_signed(units, gate, what) for gate in gates])
               for what in (units.of_x, units.of_h, units.bias))  # fmt: skip
    kinds = (kind, _kind_of(units, g), _kind_of(units, outer))
    both = torch.cat([b, torch.zeros_like(b)])
    return Recurrence("LSTM", w, r, both, kinds, p if p.any() else None)


def _read_cell_state(body: WrittenBody, new_c: int, units: Units) -> tuple[_Gate, _Gate, Tensor]:
    """The gates i and f, and the places of g, in c' = f c + i g."""
    _, (x, h, c_own, _, partial) = body.follow(new_c)
    state = body.leaf_of_state(1)
    _must(not x.any() and not h.any() and _is_diagonal(c_own))
    keep, value = c_own.diagonal(), units.value
    rows = _entries(partial)
    if rows.shape[1] == 3:
        f, left = _pick(rows, _close(_at(partial, rows), state[:, None]))
        one, two = left.T
        _must(_close(_at(partial, left), value[left.flip(1)]).all())
        one_is_gate = units.kinds[int(one[0])] == units.kinds[int(f[0])]
        i, g = (one, two) if one_is_gate else (two, one)
        return _Gate(i), _Gate(f), g
    _must(rows.shape[1] == 2)
    for gate, g in (rows.T, rows.flip(1).T):
        for is_rest in (False, True):
            if (
                _close(keep, 1 - value[gate] if is_rest else value[gate]).all()
                and _close(_at(partial, g), 1 - keep).all()
            ):
                return _Gate(gate, not is_rest), _Gate(gate, is_rest), g
    raise _NoMatchError


def _read_output(body: WrittenBody, new_h: int, units: Units) -> tuple[_Gate, Tensor]:
    """The gate o, and the places of the activation of the new cell state, in h' = o tanh(c')."""
    _, (x, h, c, new_c, partial) = body.follow(new_h)
    _must(not any(one.any() for one in (x, h, c, new_c)))
    rows = _entries(partial)
    _must(rows.shape[1] == 2)
    straight = torch.eye(len(rows), dtype=partial.dtype)
    for outer, o in (rows.T, rows.flip(1).T):
        others = (units.of_x, units.of_h, units.of_c, units.bias)
        if torch.equal(units.of_new_c[outer], straight) and not any(w[outer].any() for w in others):
            return _Gate(o), outer
    raise _NoMatchError


def _propose_gru_resetting_after(body: WrittenBody) -> Recurrence:
    return _propose_gru(body, True)


def _propose_gru_resetting_before(body: WrittenBody) -> Recurrence:
    return _propose_gru(body, False)


def _propose_gru(body: WrittenBody, resets_after: bool) -> Recurrence:
    (new_h,) = body.states
    units = body.find_units()
    _, (x, h_own, _, _, partial) = body.follow(new_h)
    _must(not x.any() and _is_diagonal(h_own))
    z, n = _read_update(units, h_own.diagonal(), partial)
    opened = body.find_units(body.units_are(1.0), 1.0)
    hidden = len(n)
    kind = _common_kind(units, [z])
    if units.of_units[n].any():
        touched = units.of_units[n].abs().sum(0).nonzero().flatten()
        if resets_after:
            places = _entries(units.of_units[n])
            _must(places.shape[1] == 1)
            touched = places[:, 0]
        r = _Gate(touched)
        _must(len(touched) == hidden and _common_kind(units, [r]) == kind)
        w_r, r_r, b_r = (_signed(units, r, what) for what in (units.of_x, units.of_h, units.bias))
        _must(not units.of_units[torch.cat([z.places, touched])].any())
    else:
        _must(kind == SIGMOID and not units.of_units[z.places].any())
        w_r, r_r = torch.zeros_like(units.of_x[n]), torch.zeros_like(units.of_h[n])
        b_r = torch.full((hidden,), _OPEN, dtype=w_r.dtype)
    w_z, r_z, b_z = (_signed(units, z, what) for what in (units.of_x, units.of_h, units.bias))
    inner = opened.bias[n] - units.bias[n] if resets_after else torch.zeros_like(b_z)
    zeros = torch.zeros(2 * hidden, dtype=inner.dtype)
    return Recurrence(
        "GRU",
        torch.cat([w_z, w_r, units.of_x[n]]),
        torch.cat([r_z, r_r, opened.of_h[n]]),
        torch.cat([b_z, b_r, units.bias[n], zeros, inner]),
        (kind, _kind_of(units, n)),
        resets_after=resets_after,
    )


def _read_update(units: Units, keep: Tensor, partial: Tensor) -> tuple[_Gate, Tensor]:
    """The gate z and the places of n in h' = z h + (1 - z) n."""
    rows, value = _entries(partial), units.value
    _must(rows.shape[1] == 2)
    for gate, n in (rows.T, rows.flip(1).T):
        for is_rest in (False, True):
            if (
                _close(keep, 1 - value[gate] if is_rest else value[gate]).all()
                and _close(_at(partial, n), 1 - keep).all()
            ):
                return _Gate(gate, is_rest), n
    raise _NoMatchError


def _propose_rnn(body: WrittenBody) -> Recurrence:
    (new_h,) = body.states
    units = body.find_units()
    value, (x, h, _, _, partial) = body.follow(new_h)
    rows = _entries(partial)
    _must(rows.shape[1] == 1 and not x.any() and not h.any() and not units.of_units.any())
    unit = _Gate(rows[:, 0])
    w, r, b = (_signed(units, unit, what) for what in (units.of_x, units.of_h, units.bias))
    _must(torch.equal(value, units.value[unit.places]))
    kind = _common_kind(units, [unit])
    return Recurrence("RNN", w, r, torch.cat([b, torch.zeros_like(b)]), (kind,))


_OF_ONE_STATE: tuple[Callable[[WrittenBody], Recurrence], ...] = (
    _propose_rnn,
    _propose_gru_resetting_after,
    _propose_gru_resetting_before,
)


def _must(holds: object) -> None:
    if not holds:
        raise _NoMatchError


def _close(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs() <= 1e-12 * (1 + other.abs())


def _entries(partial: Tensor) -> Tensor:
    """[rows, k]: the places of what is not zero in each row, the same number k in all."""
    rows, columns = partial.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=len(partial))
    _must((counts == counts[0]).all() and counts[0] > 0)
    return columns.reshape(len(partial), -1)


def _at(partial: Tensor, places: Tensor) -> Tensor:
    if places.dim() == 1:
        return partial.gather(1, places[:, None])[:, 0]
    return partial.gather(1, places)


def _pick(rows: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """In each row the one place that is chosen, and those that are left."""
    _must((chosen.sum(1) == 1).all())
    return rows[chosen], rows[~chosen].reshape(len(rows), -1)


def _is_diagonal(matrix: Tensor) -> bool:
    return torch.equal(matrix, torch.diag(matrix.diagonal()))


def _diagonal(units: Units, of_state: Tensor, gate: _Gate) -> Tensor:
    _must(_is_diagonal(of_state[gate.places]))
    found = of_state[gate.places].diagonal()
    return -found if gate.is_rest else found


def _signed(units: Units, gate: _Gate, what: Tensor) -> Tensor:
    """What a gate is fed: 1 - sigmoid(a) is sigmoid(-a)."""
    if not gate.is_rest:
        return what[gate.places]
    _must(all(units.kinds[int(place)].is_symmetric for place in gate.places))
    return -what[gate.places]


def _kind_of(units: Units, places: Tensor) -> Activation:
    kinds = {units.kinds[int(place)] for place in places}
    _must(len(kinds) == 1)
    return kinds.pop()


def _common_kind(units: Units, gates: Sequence[_Gate]) -> Activation:
    return _kind_of(units, torch.cat([gate.places for gate in gates]))
