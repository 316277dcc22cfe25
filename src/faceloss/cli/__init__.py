"""The verbs of the command line; thin. Each imports what it needs when it is called, so that --help stays instant."""
