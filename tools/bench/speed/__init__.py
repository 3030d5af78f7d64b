"""What `python tools/bench` measures: competitors checked against torch, then timed in turn."""
