"""The whole generation loop of a language model as one graph of standard operators."""

from rnn_edge.graphs.generation.form import Form, find_form
from rnn_edge.graphs.generation.generator import GENERATE_FILE, derive_generator
from rnn_edge.graphs.generation.probing import probe
from rnn_edge.graphs.generation.rereading import reread
from rnn_edge.graphs.generation.texts import derive_texts

__all__ = [
    "GENERATE_FILE",
    "Form",
    "derive_generator",
    "derive_texts",
    "find_form",
    "probe",
    "reread",
]
