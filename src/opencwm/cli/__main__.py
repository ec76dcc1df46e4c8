"""`python -m opencwm.cli`: the same as `cwm`."""

from opencwm.cli import main

main()
