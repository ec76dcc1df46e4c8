"""The `cwm` command. Each command's modules load when it runs, so that `cwm --help` does not wait for torch."""


def main() -> None:
    """Run the command line and exit with its code."""
    from opencwm.cli.app import app

    app(prog_name="cwm")
