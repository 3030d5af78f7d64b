"""Groups of commands that name the command that was meant."""

from __future__ import annotations

from difflib import get_close_matches

import click


class SuggestingGroup(click.Group):
    """A group whose complaint about an unknown command ends with the names that come close."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], self.list_commands(ctx))
            if not close or "Did you mean" in error.message:
                raise
            raise click.UsageError(
                f"{error.message} Did you mean {' or '.join(close)}?", ctx
            ) from error
