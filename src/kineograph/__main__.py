"""`python -m kineograph` is `kineo`."""

from kineograph.cli import entry

if __name__ == "__main__":
    entry()
