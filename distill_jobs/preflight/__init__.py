"""What is known before the first step: whether the base can be trained so, and what the training will need."""
