"""What is trained on: captioned pictures wherever they lie, checked and fingerprinted."""
