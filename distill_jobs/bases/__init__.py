"""The pipelines that can be trained on, and how each is told what to paint."""
