import io

import pytest

from rnn_edge.cli.tables import excerpt, print_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_piped_rows_are_separated_by_tabs(capsys):
    print_table(("a", "b"), [("x\ty\nz", 0.123456789), ("w", 3)], "title")
    assert capsys.readouterr().out.splitlines() == ["title", "a\tb", "x y z\t0.123457", "w\t3"]


def test_a_terminal_shows_brackets_as_they_are_typed(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    print_table(("text",), [("[bold]not markup[/bold]",)])
    assert "[bold]not markup[/bold]" in terminal.getvalue()


@pytest.mark.parametrize(
    ("text", "short"), [("a\n b", "a b"), ("x" * 10, "x" * 10), ("x" * 11, "x" * 9 + "…")]
)
def test_an_excerpt_is_one_short_line(text, short):
    assert excerpt(text, 10) == short
