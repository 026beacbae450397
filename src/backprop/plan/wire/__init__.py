"""The one JSON shape of everything that leaves or enters the program."""
