"""The kinds of training: one module each, from a pipeline and a data set to a file."""
