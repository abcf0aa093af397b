"""One cage after another: made in advance, fitted to a request, run, recorded, kept or wiped."""
