"""Complaints about a name that is not known end with the names that come close to it."""

from __future__ import annotations

from typing import Any

import click

from rnn_edge.near_names import suggest as suggest


class SuggestingGroup(click.Group):
    """A group of commands, for the name of one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = suggest(args[0], self.list_commands(ctx))
            if not hint or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message}{hint}", ctx) from error


class Choice(click.Choice[str]):
    """One of several names, for the value of an option."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        known = map(str, self.choices)
        return super().get_invalid_choice_message(value, ctx) + suggest(str(value), known)
