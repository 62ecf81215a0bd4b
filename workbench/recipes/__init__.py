"""What a recipe says and what its names stand for: resolved, edited, kept in files, handed on."""
