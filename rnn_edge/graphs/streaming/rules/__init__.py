"""What each operator becomes when frames arrive in chunks; one family of operators a file."""
