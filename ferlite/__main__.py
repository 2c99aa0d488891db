"""`python -m ferlite`, for where the script is not on the PATH."""

from ferlite.cli import main

main(prog_name="ferlite")
