"""`python -m egressgateway`."""

from egressgateway.cli.main import main

main()
