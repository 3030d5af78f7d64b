"""The cases that do not export yet."""

# What does not export yet, and why. An entry that starts to work fails the test: take it out.
FAILING: dict[str, str] = {
    "real_speech-Speller": "a loop after a branch by a size takes a size where it needs a tensor",
}
