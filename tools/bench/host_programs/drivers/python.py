"""For each count on standard input, run so many steps and print microseconds each.

python python.py BUNDLE ENGINE
"""

import sys
from time import perf_counter

import numpy as np

from rnn_edge.runtime.stream_session import StreamSession

with StreamSession(sys.argv[1], engine=sys.argv[2]) as stream:
    rule = stream.contract.stream
    held = {*stream.contract.state_inputs, rule and rule.reset}
    frame = [
        np.zeros([dim if isinstance(dim, int) else 1 for dim in spec.dims], spec.dtype)
        for spec in stream.contract.inputs
        if spec.name not in held
    ]
    for line in sys.stdin:
        count = int(line)
        start = perf_counter()
        for _ in range(count):
            stream.push(*frame)
        print(f"{(perf_counter() - start) / count * 1e6:.4f}", flush=True)
