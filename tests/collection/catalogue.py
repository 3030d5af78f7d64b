"""All cases, by family and by name."""

from __future__ import annotations

from collection import (
    attention,
    cells,
    complex_states,
    containers,
    convolutional,
    decoders,
    fixed_loops,
    flat_tables,
    forecasting,
    layers,
    length_values,
    linear_attention,
    loops,
    loops_opening,
    loops_periodic,
    memory,
    modern_cells,
    nested_loops,
    packing,
    packing_forms,
    published_loops,
    python_idioms,
    real_agents,
    real_idioms,
    real_operators,
    real_speech,
    real_structures,
    real_text,
    real_vision,
    speech,
    state_space,
    written_cells,
)
from collection.case import Case

FAMILIES: dict[str, list[Case]] = {
    "layers": layers.CASES,
    "packing": [*packing.CASES, *packing_forms.CASES, *length_values.CASES],
    "loops": [
        *loops.CASES,
        *loops_periodic.CASES,
        *loops_opening.CASES,
        *flat_tables.CASES,
        *published_loops.CASES,
        *fixed_loops.CASES,
        *nested_loops.CASES,
    ],
    "idioms": python_idioms.CASES,
    "cells": [*cells.CASES, *written_cells.CASES],
    "decoders": decoders.CASES,
    "convolutional": convolutional.CASES,
    "attention": attention.CASES,
    "speech": speech.CASES,
    "forecasting": forecasting.CASES,
    "memory": memory.CASES,
    "containers": containers.CASES,
    "real_speech": real_speech.CASES,
    "real_text": real_text.CASES,
    "real_vision": real_vision.CASES,
    "real_agents": real_agents.CASES,
    "real_structures": real_structures.CASES,
    "real_operators": real_operators.CASES,
    "real_idioms": real_idioms.CASES,
    "modern_cells": modern_cells.CASES,
    "state_space": [*state_space.CASES, *linear_attention.CASES, *complex_states.CASES],
}

CASES: dict[str, Case] = {
    f"{family}-{case.title()}": case for family, cases in FAMILIES.items() for case in cases
}
