"""What a term of a sum can be: a file, a sum, what a method or a stage made of others, a difference of bases."""
