"""`python -m medscan`."""

from medscan.cli import main

if __name__ == "__main__":
    main()
