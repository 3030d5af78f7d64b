"""A graph with what stands before and after it: what a person has in, what a person reads out."""

from rnn_edge.graphs.pipelines.pipeline import PIPELINE_FILE, derive_pipeline

__all__ = ["PIPELINE_FILE", "derive_pipeline"]
