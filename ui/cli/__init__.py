"""The command line, `tau`: stdout is data, stderr is progress and hints."""
