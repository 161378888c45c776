"""`python -m mascli` is `mascli`."""

from mascli.cli.app import main

if __name__ == "__main__":
    main()
