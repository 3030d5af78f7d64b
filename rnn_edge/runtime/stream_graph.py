"""A bundle's stream graph, and its graph for single frames, loaded and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle
from rnn_edge.errors import InputError
from rnn_edge.runtime.session import Session, usual_options
from rnn_edge.runtime.stream_form import StreamForm, check_step, fixed_rows
from rnn_edge.runtime.tuning import Tuning, load_quantised, read_tuning

STREAM = "stream"
STEP = "step"


class StreamGraph:
    """The sessions that run a stream; safe to share between streams.

    ``source`` is a Bundle, a bundle's folder or a lone .onnx file that carries its contract.
    ``step`` says whether single frames go to a graph of their own, where there is one, ``options``
    are those of Session; None takes what was tuned here, else a graph of their own, and its usual
    options. ``quantised`` admits the graphs of the int8 bundle beside it, where tuning found it
    faster.
    """

    def __init__(
        self,
        source: Bundle | str | Path,
        provider: str,
        threads: int | None,
        trusted: bool,
        *,
        step: bool | None = None,
        options: Sequence[str] | None = None,
        quantised: bool = False,
    ) -> None:
        if not isinstance(source, Bundle) and Path(source).is_dir():
            source = Bundle.load(source)
        if isinstance(source, Bundle) and STREAM not in source.contract.graphs:
            reason = (source.evidence.get(STREAM) or {}).get("refused", "the export wrote none")
            raise InputError(
                f"bundle {source.name} must hold a graph {STREAM!r} to be streamed, it holds "
                f"{', '.join(source.contract.graphs)}: {reason.rstrip('.')}. "
                "Export a causal model for streaming."
            )
        bundle = source if isinstance(source, Bundle) else None
        tuned = read_tuning(bundle) if bundle and provider == "cpu" else Tuning()
        if bundle and tuned.stream_quantised:
            other = load_quantised(bundle, tuned.stream_quantised) if quantised else None
            source, tuned = (other, tuned) if other else (bundle, Tuning())
        chosen = tuned.stream_options if options is None else tuple(options)
        wanted = tuned.step is not False if step is None else step
        given: dict[str, Any] = {"threads": threads, "trusted": trusted, "options": chosen or ()}
        self._stream = Session(source, provider, graph=STREAM, **given)
        self.form = StreamForm.of(self._stream.contract)
        self.about = self._stream.about
        self._step: Session | None = None
        self._step_rows: int | None = None
        if wanted and isinstance(source, Bundle) and STEP in source.contract.graphs:
            check_step(self.form, source.graph(STEP))
            if chosen is None:
                given["options"] = usual_options(source, STEP)
            self._step = Session(source, provider, graph=STEP, **given)
            self._step_rows = fixed_rows(self.form, self._step.contract)
        #: The engine that `rnn-edge tune` has found fastest here, if it was asked.
        self.tuned_engine = tuned.engine
        self.device = "cuda" if provider == "cuda" else "cpu"

    def shortest(self, rows: int) -> int | None:
        """1 where single frames of so many rows have a graph, None where the contract holds."""
        return None if self._step_for(rows) is None else 1

    def session(self, frames: int, rows: int) -> Session:
        """The session that runs chunks of ``frames`` in ``rows`` fastest."""
        step = self._step_for(rows) if frames == 1 else None
        return self._stream if step is None else step

    def _step_for(self, rows: int) -> Session | None:
        # A step graph's batch may be fixed, for the sake of speed.
        return self._step if self._step_rows in (None, rows) else None
