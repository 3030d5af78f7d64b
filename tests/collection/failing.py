"""The cases that do not export yet."""

# What does not export yet, and why. An entry that starts to work fails the test: take it out.
FAILING: dict[str, str] = {}
